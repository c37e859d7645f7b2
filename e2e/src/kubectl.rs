//! kubectl and helm, as users run them.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// What kubectl said when it did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

/// Runs kubectl; its output, or what it complained about.
pub fn kubectl(arguments: &[&str]) -> Result<String, Refusal> {
    judge(&Command::new("kubectl").args(arguments).output().expect("kubectl is on the path"))
}

/// Runs helm; its output, or what it complained about.
pub fn helm(arguments: &[&str]) -> Result<String, Refusal> {
    judge(&Command::new("helm").args(arguments).output().expect("helm is on the path"))
}

/// Applies manifests as a user does, with kubectl's strict validation.
pub fn apply(manifests: &str) {
    if let Err(Refusal(why)) = try_apply(manifests, &[]) {
        panic!("kubectl apply failed: {why}\n{manifests}");
    }
}

/// Applies what has to be refused; what the user is told.
pub fn apply_refused(manifests: &str) -> String {
    match try_apply(manifests, &[]) {
        Err(Refusal(why)) => why,
        Ok(said) => panic!("this must be refused, and was not: {said}\n{manifests}"),
    }
}

/// Asks the API server whether it would take manifests; what kubectl says, with its strict validation.
pub fn accepted(manifests: &str) -> String {
    match try_apply(manifests, &["--dry-run=server"]) {
        Ok(said) => said,
        Err(Refusal(why)) => panic!("this must be accepted, and was not: {why}\n{manifests}"),
    }
}

fn try_apply(manifests: &str, more: &[&str]) -> Result<String, Refusal> {
    let mut child = Command::new("kubectl")
        .args(["apply", "-f", "-"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is on the path");
    let mut input = child.stdin.take().expect("piped above");
    input.write_all(manifests.as_bytes()).expect("kubectl reads its input");
    drop(input);
    judge(&child.wait_with_output().expect("kubectl ends"))
}

/// An object or a list as JSON.
pub fn get(arguments: &[&str]) -> Result<Value, Refusal> {
    let text = kubectl(&[&["get", "-o", "json"], arguments].concat())?;
    Ok(serde_json::from_str(&text).expect("kubectl prints JSON"))
}

/// A path of the API server, such as a pod's port through its proxy.
pub fn raw(path: &str) -> Result<Value, Refusal> {
    let text = kubectl(&["get", "--raw", path])?;
    serde_json::from_str(&text).map_err(|error| Refusal(format!("{path} is not JSON: {error}: {text}")))
}

fn judge(output: &Output) -> Result<String, Refusal> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(Refusal(text(&output.stderr))) }
}
