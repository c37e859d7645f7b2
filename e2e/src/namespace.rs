//! A namespace for one test: made for it, shown when it fails, deleted after it.

use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

use crate::{apply, kubectl};

/// Between two looks at a condition that cannot be watched.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A namespace that lives as long as its test.
#[derive(Debug)]
pub struct Namespace(pub String);

impl Namespace {
    /// Makes `e2e-NAME`, anew if an interrupted run left it.
    pub fn new(name: &str) -> Self {
        let name = format!("e2e-{name}");
        // Absent is what is wanted.
        drop(kubectl(&["delete", "namespace", &name, "--ignore-not-found", "--timeout=90s"]));
        apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n"));
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let name = &self.0;
        if thread::panicking() {
            for arguments in [
                &["get", "all,veneurpipelines,endpointslices", "-o", "wide"][..],
                &["get", "veneurpipelines", "-o", "yaml"],
                &["get", "events", "--sort-by=.lastTimestamp"],
                &["logs", "-l", "veneur.dev/pipeline", "--all-containers", "--prefix", "--tail=30"],
            ] {
                let said = kubectl(&[&["-n", name], arguments].concat());
                let (Ok(said) | Err(crate::Refusal(said))) = said;
                eprintln!("--- kubectl -n {name} {}\n{said}", arguments.join(" "));
            }
        }
        // The test has said what it had to say; the next run deletes what this could not.
        drop(kubectl(&["delete", "namespace", name, "--wait=false"]));
    }
}

/// Waits until `look` finds something. On the way to the deadline it may say what it sees instead.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) if Instant::now() > deadline => panic!("waited {within:?} until {what}: {instead}"),
            Err(_) => thread::park_timeout(LOOK_AGAIN),
        }
    }
}
