//! `veneur`: one executable for the three tiers, called by our command lines or by the original's.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use veneur::{
    cli::{self, Call, Command, Role},
    proxy, reload, server, settings,
};
use veneur_config::{Parsed, Proxy, Secrets, Server};

/// Exit code for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
const BAD_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let command = match cli::parse(&arguments) {
        Ok(command) => command,
        Err(error) => error.exit(),
    };
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("A TLS provider was installed before");
    }
    match obey(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(false);
            tracing::error!("{error:#}");
            let bad_configuration = error.downcast_ref::<veneur_config::ConfigError>().is_some();
            if bad_configuration { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

fn obey(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(call) => run(&call),
        Command::Validate(call) => validate(&call),
        Command::PrintDefault(role) => print(&match role {
            Role::Local | Role::Server => veneur_config::documented(&Server::default().as_local()),
            Role::Global => veneur_config::documented(&Server::default().as_global()),
            Role::Proxy => veneur_config::documented(&Proxy::default()),
        }),
    }
}

/// Where configurations are read from. The original has to be told a file; ours may live on variables alone.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Starts the log: `VENEUR_LOG`, else debug where the configuration says so. The first call counts.
fn log(debug: bool) {
    let level = if debug { "debug" } else { "info" };
    let filter = EnvFilter::try_from_env("VENEUR_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // A second call finds a log that is there.
    let started =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
    drop(started);
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

/// Reads everything, says every problem, shows what was understood, and ends.
fn validate(call: &Call) -> anyhow::Result<()> {
    log(false);
    let secrets = secrets(call);
    let file = call.file.as_deref();
    if call.role == Role::Proxy {
        settings::tell_unknown_variables::<Proxy>();
        print(&veneur_config::yaml(&settings::told(settings::load::<Proxy>(file, &environment, call.strict)?), secrets))
    } else {
        settings::tell_unknown_variables::<Server>();
        print(&veneur_config::yaml(
            &settings::told(settings::load::<Server>(file, &environment, call.strict)?),
            secrets,
        ))
    }
}

fn run(call: &Call) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let file = call.file.as_deref();
    if call.role == Role::Proxy {
        let parsed: Parsed<Proxy> = settings::load(file, &environment, call.strict)?;
        log(parsed.config.debug);
        settings::tell_unknown_variables::<Proxy>();
        let config = settings::with_hosts(settings::told(parsed));
        show(call, &config);
        return runtime.block_on(async {
            let mut running = proxy::start(&config).await?;
            tokio::select! {
                error = running.failed() => return Err(error),
                signal = told_to_stop() => signal?,
            }
            running.stop().await;
            Ok(())
        });
    }
    let parsed: Parsed<Server> = settings::load(file, &environment, call.strict)?;
    log(parsed.config.debug);
    settings::tell_unknown_variables::<Server>();
    let config = settings::named(settings::told(parsed));
    let config = match call.role {
        Role::Local => config.as_local(),
        Role::Global => config.as_global(),
        Role::Server | Role::Proxy => config,
    };
    show(call, &config);
    runtime.block_on(async {
        let mut running = server::start(&config).await?;
        let (mut watching, stop) = (JoinSet::new(), CancellationToken::new());
        let mut changes = changes(call, config, &stop, &mut watching)?;
        loop {
            tokio::select! {
                error = running.failed() => return Err(error),
                signal = told_to_stop() => break signal?,
                Ok(()) = changes.changed() => running.follow(&changes.borrow_and_update().clone()),
            }
        }
        stop.cancel();
        running.stop().await;
        watching.shutdown().await;
        Ok(())
    })
}

/// Configurations as the file changes; without a file there are none, and SIGHUP has nothing to read again.
fn changes(
    call: &Call,
    running: Server,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<watch::Receiver<Arc<Server>>> {
    let running = Arc::new(running);
    let Some(file) = call.file.clone() else {
        // Without a sender it never changes, and whoever waits for that looks elsewhere.
        return Ok(watch::channel(running).1);
    };
    let role = call.role;
    let read = move |file: &str| {
        let server = reload::from_file(file, &environment)?;
        Ok(match role {
            Role::Local => server.as_local(),
            Role::Global => server.as_global(),
            Role::Server | Role::Proxy => server,
        })
    };
    reload::watch(file, running, read, stop.clone(), tasks)
}

/// Logs the configuration in use.
fn show<T: veneur_config::Role>(call: &Call, config: &T) {
    tracing::debug!(config = veneur_config::yaml(config, secrets(call)), "Configured");
}

/// What `-print-secrets` says.
fn secrets(call: &Call) -> Secrets {
    if call.print_secrets { Secrets::Shown } else { Secrets::Redacted }
}

/// SIGTERM from a kubelet, SIGINT from a terminal.
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "Stopping");
    Ok(())
}
