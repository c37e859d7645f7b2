//! The log: structured lines on standard error, and how much of it is written.

use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{
        Layer,
        format::{DefaultFields, Format},
    },
    layer::Layered,
    reload,
};

/// The variable that says what is logged, as `debug` or `info,veneur::listen=debug`. It wins over any configuration.
const LOG: &str = "VENEUR_LOG";

type Written = Layered<Layer<Registry, DefaultFields, Format, fn() -> std::io::Stderr>, Registry>;

/// How much is logged, while the process runs.
#[derive(Debug, Clone)]
pub struct Level(Option<reload::Handle<EnvFilter, Written>>);

impl Level {
    /// Starts the log: as `VENEUR_LOG` says, else debug where the configuration says so. The first call counts.
    pub fn start(debug: bool) -> Self {
        let asked = EnvFilter::try_from_env(LOG).ok();
        let chosen = asked.is_some();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(std::io::stderr as fn() -> std::io::Stderr)
            .with_env_filter(asked.unwrap_or_else(|| level(debug)))
            .with_filter_reloading();
        let handle = log.reload_handle();
        // A second call finds a log that is there.
        let started = log.try_init().is_ok();
        Self((started && !chosen).then_some(handle))
    }

    /// Follows a changed configuration, unless the variable has said what is logged.
    pub fn follow(&self, debug: bool) {
        if let Some(handle) = &self.0
            && let Err(problem) = handle.reload(level(debug))
        {
            tracing::error!(%problem, "The level of the log cannot be changed");
        }
    }
}

fn level(debug: bool) -> EnvFilter {
    EnvFilter::new(if debug { "debug" } else { "info" })
}
