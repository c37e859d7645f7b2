//! An instance as a process of its own: ours, or one of the original's.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longer than any step takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What is run, but for its configuration.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<&'static str>,
    variables: Vec<(&'static str, String)>,
    /// Answers 200 once it is ready.
    ready: &'static str,
}

impl Program {
    /// Ours, in a role.
    pub(crate) fn ours(role: &'static str) -> Self {
        let path = env!("CARGO_BIN_EXE_veneur").into();
        Self { path, arguments: vec![role, "-f"], variables: Vec::new(), ready: "/ready" }
    }

    /// The original's executable at `path`.
    pub(crate) fn original(path: PathBuf) -> Self {
        Self { path, arguments: vec!["-f"], variables: Vec::new(), ready: "/healthcheck" }
    }

    /// The same with a variable.
    pub(crate) fn with(mut self, variable: &'static str, value: String) -> Self {
        self.variables.push((variable, value));
        self
    }
}

/// An instance as a process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    program: Program,
    config: PathBuf,
    http: SocketAddr,
}

impl Process {
    /// Starts one with a configuration, which is written to `folder`. Its admin port is `http`.
    pub(crate) fn start(program: Program, folder: &Path, name: &str, http: SocketAddr, text: &str) -> Self {
        let config = folder.join(format!("{name}.yaml"));
        fs::write(&config, text).expect("written");
        Self::spawn(program, config, http)
    }

    fn spawn(program: Program, config: PathBuf, http: SocketAddr) -> Self {
        let log = fs::File::options().create(true).append(true).open(config.with_extension("log")).expect("a log");
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .arg(&config)
            .env("VENEUR_LOG", "info")
            .envs(program.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the executable runs");
        Self { child, program, config, http }
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while get(self.http, self.program.ready).await.is_none_or(|(status, _)| !(200..300).contains(&status)) {
            let ended = self.child.try_wait().expect("is our child");
            assert!(ended.is_none(), "{} ended with {ended:?}: {}", self.name(), self.log());
            assert!(tokio::time::Instant::now() < deadline, "{} is not ready: {}", self.name(), self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it is called, as its files are.
    pub(crate) fn name(&self) -> String {
        self.config.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What `/status` says.
    pub(crate) async fn status(&self) -> serde_json::Value {
        let (_, body) = get(self.http, "/status").await.expect("the admin port answers");
        serde_json::from_str(&body).expect("is JSON")
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn stop(&mut self) {
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("is our child") {
                assert!(status.success(), "{} ended with {status}: {}", self.name(), self.log());
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{} does not stop: {}", self.name(), self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it and starts another with the same configuration and ports.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts another with the same configuration and ports, after this one has ended.
    pub(crate) async fn start_again(&mut self) {
        let mut next = Self::spawn(self.program.clone(), self.config.clone(), self.http);
        next.ready().await;
        *self = next;
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("is our child");
    }

    /// Sends SIGHUP: its configuration is to be read again.
    pub(crate) fn hang_up(&self) {
        kill(self.pid(), Signal::SIGHUP).expect("it runs");
    }

    /// The file of its configuration.
    pub(crate) fn configuration(&self) -> &Path {
        &self.config
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("pids are small"))
    }

    /// What it logged, its predecessors of the same configuration included.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }
}

impl Process {
    /// What it, ours or the original's, warned of.
    pub(crate) fn complaints(&self) -> String {
        const WORDS: [&str; 5] = [" WARN ", " ERROR ", "level=warning", "level=error", "panic"];
        let log = self.log();
        let lines = log.lines().filter(|line| WORDS.iter().any(|word| line.contains(word)));
        let named: Vec<String> = lines.map(|line| format!("{}: {line}", self.name())).collect();
        named.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ports given out so far: a process binds its own only some time after.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// An address of loopback that no other test uses, nor any connection as its own.
fn loopback() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 64 | high, middle, low], 0))
}

fn not_given_before(mut bind: impl FnMut() -> std::io::Result<SocketAddr>) -> SocketAddr {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let address = bind().expect("loopback");
        if given.insert(address.port()) {
            return address;
        }
    }
}

/// An address on loopback for TCP.
pub(crate) fn free() -> SocketAddr {
    not_given_before(|| TcpListener::bind(loopback())?.local_addr())
}

/// An address on loopback for UDP.
pub(crate) fn free_udp() -> SocketAddr {
    not_given_before(|| UdpSocket::bind(loopback())?.local_addr())
}

async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
