//! The executable, called as the original is called.

use std::{
    os::unix::fs::symlink,
    process::{Command, Output},
};

use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_veneur");

fn call(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let variables = variables.iter().copied();
    Command::new(program).args(arguments).env_clear().envs(variables).output().expect("the executable starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn file(folder: &TempDir, text: &str) -> String {
    let path = folder.path().join("veneur.yaml");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("a name in UTF-8").to_owned()
}

#[test]
fn a_file_is_validated_with_every_problem_and_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = file(&folder, "datadog_api_key: hunter2\nnum_workers: 96\nagregates: [min]");
    let output = call(EXECUTABLE, &["-f", &good, "-validate-config"], &[]);
    let text = said(&output);
    assert!(output.status.success() && text.contains("REDACTED") && !text.contains("hunter2"), "{text}");
    assert!(text.contains("read as metric_sinks[datadog].config.api_key") && text.contains("agregates"), "{text}");

    let output = call(EXECUTABLE, &["--f", &good, "-validate-config-strict"], &[]);
    let text = said(&output);
    assert!(!output.status.success() && text.contains("agregates: is not a key: did you mean aggregates?"), "{text}");

    let output = call(EXECUTABLE, &[&format!("-f={good}"), "-validate-config", "-print-secrets"], &[]);
    assert!(output.status.success() && said(&output).contains("hunter2"), "{}", said(&output));

    let bad = file(&folder, "interval: soon\nnum_readers: 0");
    let output = call(EXECUTABLE, &["-f", &bad, "-validate-config"], &[("VENEUR_PERCENTILES", "7")]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    for problem in
        ["interval: \"soon\" is not a duration", "num_readers: 0 would", "VENEUR_PERCENTILES: percentiles[0]: 7"]
    {
        assert!(text.contains(problem), "{problem} is not in {text}");
    }
}

#[test]
fn what_only_the_start_would_refuse_is_told_by_validation() {
    let folder = tempfile::tempdir().expect("a folder");
    let pem = |label: &str| format!("\"-----BEGIN {label}-----\\nAAAA\\n-----END {label}-----\\n\"");
    let sinks = "metric_sinks: [{kind: datadog, name: dd, config: {api_key: two words}}]";
    let (key, certificate) = (pem("PRIVATE KEY"), pem("CERTIFICATE"));
    let config = file(&folder, &format!("tls_key: {key}\ntls_certificate: {certificate}\n{sinks}"));
    let output = call(EXECUTABLE, &["-f", &config, "-validate-config"], &[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(
        text.contains("tls_certificate, tls_key: ") && text.contains("sink \"dd\": api_key has characters"),
        "{text}"
    );
    assert!(!text.contains("two words"), "{text}");
}

#[test]
fn a_link_named_veneur_proxy_is_a_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = folder.path().join("veneur-proxy");
    symlink(EXECUTABLE, &proxy).expect("a link");
    let config = file(&folder, "grpc_address: 127.0.0.1:0\nforward_service: globals\nforward_adresses: [a]");
    let output = call(proxy.to_str().expect("UTF-8"), &["-f", &config, "-strict"], &[]);
    let text = said(&output);
    assert!(!output.status.success() && text.contains("forward_service: members are not asked from Consul"), "{text}");
    let output = call(proxy.to_str().expect("UTF-8"), &["-validate-config"], &[]);
    assert!(said(&output).contains("usage: veneur-proxy"), "{}", said(&output));
}

#[test]
fn the_printed_default_validates() {
    let folder = tempfile::tempdir().expect("a folder");
    for role in ["local", "global"] {
        let printed = call(EXECUTABLE, &["config", "print-default", role], &[]);
        let config = file(&folder, &String::from_utf8(printed.stdout).expect("UTF-8"));
        let output = call(EXECUTABLE, &["config", "validate", &config], &[]);
        assert!(output.status.success(), "{}", said(&output));
    }
    // A proxy has no default of where it imports and of who its members are.
    let printed = call(EXECUTABLE, &["config", "print-default", "proxy"], &[]);
    let config = file(&folder, &String::from_utf8(printed.stdout).expect("UTF-8"));
    let members = [("VENEUR_PROXY_GRPCADDRESS", "127.0.0.1:0"), ("VENEUR_PROXY_DNS_ADDRESS", "globals:8128")];
    let output = call(EXECUTABLE, &["config", "validate", "--role", "proxy", &config], &members);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_proxy_that_is_asked_for_tls_does_not_speak_plain_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let members = "grpc_address: 127.0.0.1:0\nforward_addresses: ['127.0.0.1:1']";
    for asked in ["grpc_tls_address: 127.0.0.1:0\ntls: {cert_file: a, key_file: b}", "forward_tls: {ca_file: a}"] {
        let config = file(&folder, &format!("{members}\n{asked}"));
        let output = call(EXECUTABLE, &["proxy", "-f", &config], &[]);
        assert!(!output.status.success() && said(&output).contains("tls"), "{}", said(&output));
    }
}
