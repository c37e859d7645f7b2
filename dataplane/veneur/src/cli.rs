//! Command lines: ours, and the original's as it is called.
//!
//! `veneur local|proxy|global` and `veneur config …` are ours. `veneur -f FILE` and `veneur-proxy -f FILE` are the
//! original's: single-dash flags, the role told by the file, or by the name the executable is called by. `veneur` alone
//! is such a call where variables say something, and asks for help where they do not.

use std::{ffi::OsStr, path::Path};

use clap::{Parser, Subcommand};

/// Veneur: `DogStatsD` with global percentiles and sets.
#[derive(Debug, Parser)]
#[command(
    name = "veneur",
    version,
    arg_required_else_help = true,
    after_help = "As the original: veneur -f FILE [-validate-config] [-validate-config-strict] [-print-secrets]\n\
                  and, called as veneur-proxy: veneur-proxy -f FILE [-strict] [-print-secrets].\n\
                  Without arguments: by VENEUR_* variables alone, if there are any."
)]
struct Arguments {
    #[command(subcommand)]
    command: Ours,
}

#[derive(Debug, Subcommand)]
enum Ours {
    /// Reads DogStatsD, publishes what is local and forwards the rest.
    Local(Source),
    /// Routes what locals forward to the global that owns it.
    Proxy(Source),
    /// Merges what locals forward and publishes it to sinks.
    Global(Source),
    /// Prints or checks configurations.
    #[command(subcommand)]
    Config(Configs),
}

#[derive(Debug, clap::Args)]
struct Source {
    /// Configuration file; without it the variable `VENEUR_CONFIG`, and without that variables alone.
    #[arg(short = 'f', value_name = "FILE")]
    file: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Configs {
    /// Prints every key with what it means and its default.
    PrintDefault {
        /// Whose.
        #[arg(value_enum, default_value = "local")]
        role: Role,
    },
    /// Checks a file and the environment: every problem, unknown keys too.
    Validate {
        /// The file.
        file: String,
        /// Whose it is.
        #[arg(long, value_enum, default_value = "server")]
        role: Role,
    },
}

/// What an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// A local: without an address of its own it listens where clients send.
    Local,
    /// A proxy.
    Proxy,
    /// A global: without an address of its own it imports.
    Global,
    /// Whichever its configuration says: a local if it forwards.
    Server,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run an instance.
    Run(Call),
    /// Check a configuration and end.
    Validate(Call),
    /// Print a role's keys.
    PrintDefault(Role),
}

/// With which configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it is.
    pub role: Role,
    /// Its file.
    pub file: Option<String>,
    /// Whether unknown keys are errors.
    pub strict: bool,
    /// Whether the configuration is shown with its secrets.
    pub print_secrets: bool,
}

/// Reads a command line; `configured` says whether variables configure a server. The error is for standard error or, where
/// clap says so, for standard output.
pub fn parse(arguments: &[String], configured: bool) -> Result<Command, clap::Error> {
    let (program, rest) =
        arguments.split_first().map_or(("veneur", &[][..]), |(program, rest)| (program.as_str(), rest));
    let called = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    if called == "veneur-proxy" {
        return originals(Role::Proxy, rest);
    }
    if rest.first().map_or(configured, |first| is_originals(first)) {
        return originals(Role::Server, rest);
    }
    let run =
        |role, source: Source| Command::Run(Call { role, file: source.file, strict: false, print_secrets: false });
    Ok(match Arguments::try_parse_from(arguments)?.command {
        Ours::Local(source) => run(Role::Local, source),
        Ours::Proxy(source) => run(Role::Proxy, source),
        Ours::Global(source) => run(Role::Global, source),
        Ours::Config(Configs::PrintDefault { role }) => Command::PrintDefault(role),
        Ours::Config(Configs::Validate { file, role }) => {
            Command::Validate(Call { role, file: Some(file), strict: true, print_secrets: false })
        }
    })
}

/// The original's flags, and whether each takes a value.
const FLAGS: [(&str, bool); 5] = [
    ("f", true),
    ("validate-config", false),
    ("validate-config-strict", false),
    ("print-secrets", false),
    ("strict", false),
];

fn is_originals(argument: &str) -> bool {
    let name = argument.trim_start_matches('-').split('=').next().unwrap_or_default();
    argument.starts_with('-') && FLAGS.iter().any(|(flag, _)| *flag == name)
}

/// Go's `flag`: `-name`, `--name`, `-name=value`, and `-name value` where a flag has a value.
fn originals(role: Role, arguments: &[String]) -> Result<Command, clap::Error> {
    let mut call = Call { role, file: None, strict: false, print_secrets: false };
    let mut validate = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bare = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).unwrap_or_default();
        let (name, given) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)));
        if matches!(name, "h" | "help") {
            return Err(wrong(clap::error::ErrorKind::DisplayHelp, usage(role).to_owned()));
        }
        let known = FLAGS.iter().find(|(flag, _)| *flag == name && allowed(role, flag));
        let Some((_, takes_value)) = known else {
            let problem = format!("{argument:?} is not a flag here\n{}", usage(role));
            return Err(wrong(clap::error::ErrorKind::UnknownArgument, problem));
        };
        if *takes_value {
            let value = given.map(str::to_owned).or_else(|| rest.next().cloned());
            let missing =
                || wrong(clap::error::ErrorKind::InvalidValue, format!("-{name} needs a value\n{}", usage(role)));
            call.file = Some(value.ok_or_else(missing)?);
            continue;
        }
        let on = match given {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some(value) => {
                let problem = format!("-{name}={value} must be true or false\n{}", usage(role));
                return Err(wrong(clap::error::ErrorKind::InvalidValue, problem));
            }
        };
        match name {
            "validate-config" => validate |= on,
            "validate-config-strict" => {
                // As the original's help says; what it does without -validate-config is to go on and run.
                validate |= on;
                call.strict |= on;
            }
            "strict" => call.strict |= on,
            _ => call.print_secrets |= on,
        }
    }
    Ok(if validate { Command::Validate(call) } else { Command::Run(call) })
}

fn allowed(role: Role, flag: &str) -> bool {
    match flag {
        "strict" => role == Role::Proxy,
        "validate-config" | "validate-config-strict" => role != Role::Proxy,
        _ => true,
    }
}

fn usage(role: Role) -> &'static str {
    if role == Role::Proxy {
        "usage: veneur-proxy -f FILE [-strict] [-print-secrets]"
    } else {
        "usage: veneur -f FILE [-validate-config] [-validate-config-strict] [-print-secrets]"
    }
}

fn wrong(kind: clap::error::ErrorKind, text: String) -> clap::Error {
    clap::Error::raw(kind, text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, clap::Error> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), false)
    }

    fn call(role: Role, file: Option<&str>, strict: bool, print_secrets: bool) -> Call {
        Call { role, file: file.map(str::to_owned), strict, print_secrets }
    }

    #[test]
    fn the_originals_command_lines_are_read_as_go_reads_them() {
        let server = |strict, secrets| call(Role::Server, Some("a.yaml"), strict, secrets);
        for line in [
            "veneur -f a.yaml",
            "/usr/bin/veneur -f=a.yaml",
            "veneur --f a.yaml",
            "veneur -validate-config=false -f a.yaml",
        ] {
            assert_eq!(read(line).expect(line), Command::Run(server(false, false)), "{line}");
        }
        assert_eq!(read("veneur -f a.yaml -validate-config").unwrap(), Command::Validate(server(false, false)));
        assert_eq!(read("veneur -validate-config-strict -f a.yaml").unwrap(), Command::Validate(server(true, false)));
        assert_eq!(read("veneur -print-secrets -f a.yaml").unwrap(), Command::Run(server(false, true)));
        let proxy = Command::Run(call(Role::Proxy, Some("p.yaml"), true, false));
        assert_eq!(read("/veneur/veneur-proxy -f p.yaml -strict").unwrap(), proxy);
    }

    #[test]
    fn a_bare_name_runs_what_variables_say_or_asks_for_help() {
        let bare = |configured| parse(&["/usr/bin/veneur".to_owned()], configured);
        assert_eq!(bare(true).unwrap(), Command::Run(call(Role::Server, None, false, false)));
        let help = bare(false).expect_err("nothing is said").to_string();
        assert!(help.contains("Usage: veneur"), "{help}");
        let proxy = parse(&["veneur-proxy".to_owned()], false).unwrap();
        assert_eq!(proxy, Command::Run(call(Role::Proxy, None, false, false)));
    }

    #[test]
    fn our_command_lines_stay() {
        assert_eq!(read("veneur local -f a").unwrap(), Command::Run(call(Role::Local, Some("a"), false, false)));
        assert_eq!(read("veneur global").unwrap(), Command::Run(call(Role::Global, None, false, false)));
        assert_eq!(read("veneur config print-default proxy").unwrap(), Command::PrintDefault(Role::Proxy));
        let validate = Command::Validate(call(Role::Server, Some("a"), true, false));
        assert_eq!(read("veneur config validate a").unwrap(), validate);
    }

    #[test]
    fn a_wrong_flag_is_named_with_the_usage() {
        for (line, expected) in [
            ("veneur -f", "-f needs a value"),
            ("veneur -f a -strict", "\"-strict\" is not a flag here"),
            ("veneur-proxy -validate-config", "is not a flag here"),
            ("veneur -validate-config=maybe", "must be true or false"),
            ("veneur -f a extra", "\"extra\" is not a flag here"),
        ] {
            let error = read(line).expect_err(line).to_string();
            assert!(error.contains(expected) && error.contains("usage: veneur"), "{line}: {error}");
        }
    }
}
