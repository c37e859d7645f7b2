//! `veneur`: one executable for the three tiers, called by our command lines or by the original's.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use veneur::{
    cli::{self, Call, Command, Role},
    log::Level,
    proxy, reload, server, settings,
};
use veneur_config::{Parsed, Proxy, Secrets, Server};

/// Exit code for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
const BAD_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let command = match cli::parse(&arguments, settings::are_variables()) {
        Ok(command) => command,
        Err(error) => error.exit(),
    };
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("A TLS provider was installed before");
    }
    match obey(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Level::start(false);
            tracing::error!("{error:#}");
            let bad_configuration = error.is::<veneur_config::ConfigError>() || error.is::<server::Unusable>();
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

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

/// Reads everything, says every problem, shows what was understood, and ends.
fn validate(call: &Call) -> anyhow::Result<()> {
    Level::start(false);
    let secrets = secrets(call);
    let file = call.file.as_deref();
    if call.role == Role::Proxy {
        settings::tell_unknown_variables::<Proxy>();
        print(&veneur_config::yaml(&settings::told(settings::load::<Proxy>(file, &environment, call.strict)?), secrets))
    } else {
        settings::tell_unknown_variables::<Server>();
        let config = settings::told(settings::load::<Server>(file, &environment, call.strict)?);
        server::usable(&config)?;
        print(&veneur_config::yaml(&config, secrets))
    }
}

fn run(call: &Call) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)))
        .thread_name("veneur-worker")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let file = call.file.as_deref();
    if call.role == Role::Proxy {
        let parsed: Parsed<Proxy> = settings::load(file, &environment, call.strict)?;
        let level = Level::start(parsed.config.debug);
        settings::tell_unknown_variables::<Proxy>();
        let config = settings::with_hosts(settings::told(parsed));
        show(call, &config);
        return runtime.block_on(run_proxy(call, config, &level));
    }
    let parsed: Parsed<Server> = settings::load(file, &environment, call.strict)?;
    let level = Level::start(parsed.config.debug);
    settings::tell_unknown_variables::<Server>();
    let config = as_role(call.role, settings::named(settings::told(parsed)));
    show(call, &config);
    runtime.block_on(run_server(call, config, &level))
}

/// What a role's word means, where its configuration says nothing.
fn as_role(role: Role, config: Server) -> Server {
    match role {
        Role::Local => config.as_local(),
        Role::Global => config.as_global(),
        Role::Server | Role::Proxy => config,
    }
}

async fn run_server(call: &Call, config: Server, level: &Level) -> anyhow::Result<()> {
    let (mut watching, stop) = (JoinSet::new(), CancellationToken::new());
    let mut stopping = Stopping::new()?;
    let (role, strict) = (call.role, call.strict);
    let read = move |file: &str| Ok(as_role(role, settings::server(Some(file), &environment, strict)?));
    let mut changes = changes(call, config.clone(), read, &stop, &mut watching)?;
    let mut running = server::start(&config).await?;
    let (told_to_quit, mut offered) = (running.told_to_quit(), running.offered());
    tokio::pin!(told_to_quit);
    loop {
        tokio::select! {
            error = running.failed() => return Err(error),
            () = stopping.told() => break,
            () = &mut told_to_quit => {
                tracing::info!(request = "POST /quitquitquit", "Stopping");
                break;
            }
            config = changed(&mut changes) => {
                running.follow(&config);
                level.follow(config.debug);
            }
            Some(offer) = changed(&mut offered) => running.follow_offer(offer),
        }
    }
    stop.cancel();
    running.stop().await;
    watching.shutdown().await;
    Ok(())
}

async fn run_proxy(call: &Call, config: Proxy, level: &Level) -> anyhow::Result<()> {
    let (mut watching, stop) = (JoinSet::new(), CancellationToken::new());
    let mut stopping = Stopping::new()?;
    let strict = call.strict;
    let read = move |file: &str| settings::proxy(Some(file), &environment, strict);
    let mut changes = changes(call, config.clone(), read, &stop, &mut watching)?;
    let mut running = proxy::start(&config).await?;
    loop {
        tokio::select! {
            error = running.failed() => return Err(error),
            () = stopping.told() => break,
            config = changed(&mut changes) => {
                running.follow(&config);
                level.follow(config.debug);
            }
        }
    }
    stop.cancel();
    running.stop().await;
    watching.shutdown().await;
    Ok(())
}

/// Configurations as the file changes; without a file there are none, and SIGHUP has nothing to read again.
fn changes<T: veneur_config::Role + Send + Sync + 'static>(
    call: &Call,
    running: T,
    read: impl Fn(&str) -> anyhow::Result<T> + Send + 'static,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<watch::Receiver<Arc<T>>> {
    let running = Arc::new(running);
    let Some(file) = call.file.clone() else {
        reload::nothing_to_read(stop.clone(), tasks)?;
        // Without a sender it never changes.
        return Ok(watch::channel(running).1);
    };
    reload::watch(file, running, read, stop.clone(), tasks)
}

/// What a watch sees next. Once nobody writes it any more, there is nothing.
async fn changed<T: Clone>(changes: &mut watch::Receiver<T>) -> T {
    match changes.changed().await {
        Ok(()) => changes.borrow_and_update().clone(),
        Err(_) => std::future::pending().await,
    }
}

/// Logs the configuration in use.
fn show<T: veneur_config::Role>(call: &Call, config: &T) {
    tracing::debug!(config = veneur_config::yaml(config, secrets(call)), "Configured");
}

/// What `-print-secrets` says.
fn secrets(call: &Call) -> Secrets {
    if call.print_secrets { Secrets::Shown } else { Secrets::Redacted }
}

/// SIGTERM from a kubelet, SIGINT from a terminal, and SIGUSR2, by which the original was told to stop gracefully.
struct Stopping {
    terminate: Signal,
    interrupt: Signal,
    graceful: Signal,
}

impl Stopping {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
            graceful: signal(SignalKind::user_defined2()).context("cannot listen for SIGUSR2")?,
        })
    }

    async fn told(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.graceful.recv() => "SIGUSR2",
        };
        tracing::info!(signal = name, "Stopping");
    }
}
