//! `veneur local|proxy|global`: one executable for the three tiers.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use veneur::{proxy, server, settings};
use veneur_config::Server;

/// Exit code for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
const BAD_CONFIGURATION: u8 = 78;

/// Veneur: DogStatsD with global percentiles and sets.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Reads DogStatsD, publishes what is local and forwards the rest.
    Local(Source),
    /// Routes what locals forward to the global that owns it.
    Proxy(Source),
    /// Merges what locals forward and publishes it to sinks.
    Global(Source),
}

#[derive(Debug, clap::Args)]
struct Source {
    /// Configuration file; without it the variable `VENEUR_CONFIG`, and without that the role's defaults.
    #[arg(short = 'f', value_name = "FILE")]
    file: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_env("VENEUR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("A TLS provider was installed before");
    }
    match run(arguments.role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let bad_configuration = error.downcast_ref::<veneur_config::ConfigError>().is_some();
            if bad_configuration { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

fn run(role: Role) -> anyhow::Result<()> {
    let environment = |name: &str| std::env::var(name).ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)))
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match role {
        Role::Proxy(source) => {
            let config = settings::proxy(source.file.as_deref(), &environment)?;
            runtime.block_on(async {
                let mut running = proxy::start(&config).await?;
                tokio::select! {
                    error = running.failed() => return Err(error),
                    signal = told_to_stop() => signal?,
                }
                running.stop().await;
                Ok(())
            })
        }
        Role::Local(source) => serve(&runtime, settings::server(source.file.as_deref(), &environment)?, |config| {
            if config.statsd_listen_addresses.is_empty() {
                config.statsd_listen_addresses = vec!["udp://127.0.0.1:8126".to_owned()];
            }
        }),
        Role::Global(source) => serve(&runtime, settings::server(source.file.as_deref(), &environment)?, |config| {
            if config.grpc_address.is_empty() {
                config.grpc_address = String::from("0.0.0.0:8128");
            }
        }),
    }
}

fn serve(
    runtime: &tokio::runtime::Runtime,
    mut config: Server,
    defaults: impl FnOnce(&mut Server),
) -> anyhow::Result<()> {
    defaults(&mut config);
    runtime.block_on(async {
        let mut running = server::start(&config).await?;
        tokio::select! {
            error = running.failed() => return Err(error),
            signal = told_to_stop() => signal?,
        }
        running.stop().await;
        Ok(())
    })
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
