//! What only a process of its own shows: its log, its exit code, and what signals do to it.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
};

use super::*;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_veneur");

/// A running `veneur` and what it has logged so far.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(reading) = self.reading.take() {
            reading.join().expect("reads to the end");
        }
    }
}

impl Process {
    pub(crate) fn start(arguments: &[&str], config: Option<&str>) -> Self {
        let mut command = Command::new(EXECUTABLE);
        command.args(arguments).env_clear().envs(config.map(|config| ("VENEUR_CONFIG", config)));
        Self::run(command)
    }

    /// As the original is called, or by a link of another name.
    fn called(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(variables.iter().copied());
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let (log, lines) = (Arc::default(), BufReader::new(child.stderr.take().expect("piped")).lines());
        let reading = std::thread::spawn({
            let log: Arc<Mutex<String>> = Arc::clone(&log);
            move || {
                for line in lines.map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        Self { child, log, reading: Some(reading) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn says(&self, text: &str) {
        let said = until(text, || {
            let log = self.log();
            (log.contains(text)).then_some(log)
        });
        said.await;
    }

    pub(crate) fn times(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("runs");
        assert!(told.success());
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "still runs: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The address in the first line that has `key`.
    pub(crate) async fn address(&self, key: &str) -> SocketAddr {
        until(key, || {
            let log = self.log();
            let (_, rest) = log.split_once(key)?;
            let end = rest.find([')', ' ', '\n'])?;
            rest[..end].parse().ok()
        })
        .await
    }
}

const CONFIG: &str = "interval: 1s\nstatsd_listen_addresses: ['udp://127.0.0.1:0']\nhttp_address: 127.0.0.1:0\n";

#[tokio::test]
async fn variables_alone_make_a_local_or_a_global() {
    let listen = ("VENEUR_STATSDLISTENADDRESSES", "udp://127.0.0.1:0");
    let (forward, quiet) = (("VENEUR_FORWARDADDRESS", "127.0.0.1:9"), ("VENEUR_SELFMETRICS", "false"));
    for (role, variables) in [("global", &[listen][..]), ("local", &[listen, forward, quiet][..])] {
        let mut process = Process::called(Path::new(EXECUTABLE), &[], variables);
        process.says("Running").await;
        assert!(process.log().contains(&format!("role=\"{role}\"")), "{}", process.log());
        process.signal("TERM");
        assert!(process.ended().await.success(), "{}", process.log());
    }
}

#[tokio::test]
async fn a_link_named_veneur_proxy_runs_a_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let (program, file) = (folder.path().join("veneur-proxy"), folder.path().join("proxy.yaml"));
    symlink(EXECUTABLE, &program).expect("a link");
    let config = "grpc_address: 127.0.0.1:0\nself_metrics: false\nforward_addresses: ['127.0.0.1:9']\n";
    std::fs::write(&file, config).expect("written");
    let mut process = Process::called(&program, &["-f", file.to_str().expect("UTF-8")], &[]);
    process.says("Running").await;
    assert!(process.log().contains("role=\"proxy\""), "{}", process.log());
    process.signal("TERM");
    assert!(process.ended().await.success(), "{}", process.log());
}

#[tokio::test]
async fn a_hangup_without_a_file_harms_nothing() {
    let proxy = "grpc_address: 127.0.0.1:0\nforward_addresses: ['127.0.0.1:9']\n";
    for (role, config) in [("local", CONFIG), ("proxy", proxy)] {
        let mut process = Process::start(&[role], Some(config));
        process.says("Running").await;
        process.signal("HUP");
        process.says("there is no file to read again").await;
        process.signal("TERM");
        assert!(process.ended().await.success(), "{}", process.log());
    }
}

#[tokio::test]
async fn a_post_ends_the_process_as_a_signal_does() {
    let mut process = Process::start(&["local"], Some(&format!("{CONFIG}http_quit: true\n")));
    let http = process.address("http=Some(").await;
    let stream = TcpStream::connect(http).await.expect("connects");
    assert_eq!(ask(stream, "POST", "/quitquitquit").await.0, 200);
    assert!(process.ended().await.success(), "{}", process.log());
    assert!(process.log().contains("Stopped"), "{}", process.log());
}

#[tokio::test]
async fn the_originals_signal_for_a_graceful_stop_delivers_the_interval_under_way() {
    let backend = backend().await;
    let SinkKind::Datadog(Datadog { api_hostname, .. }) = &backend.sink.kind else { panic!("a datadog sink") };
    let sink = format!(
        "metric_sinks: [{{kind: datadog, name: dd, config: {{api_key: hunter2, api_hostname: '{api_hostname}'}}}}]\n"
    );
    let mut process = Process::start(&["local"], Some(&(CONFIG.replace("1s", "3600s") + &sink)));
    let to = process.address("address=udp://").await;
    process.says("Running").await;
    emit(to, "last.words:1|c");
    process.signal("USR2");
    assert!(process.ended().await.success(), "{}", process.log());
    process.says("signal=\"SIGUSR2\"").await;
    assert!((backend.total("last.words") - 1.0).abs() < 1e-9, "{}", process.log());
}

#[tokio::test]
async fn the_level_of_the_log_follows_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("veneur.yaml");
    let write = |debug: bool| std::fs::write(&file, format!("{CONFIG}debug: {debug}\n")).expect("written");
    write(false);
    let process = Process::start(&["local", "-f", file.to_str().expect("UTF-8")], None);
    process.says("Running").await;
    assert_eq!(process.times("DEBUG"), 0, "{}", process.log());
    write(true);
    process.says("Interval flushed").await;
    write(false);
    until("both changes are told", || (process.times("Configuration changed") == 2).then_some(())).await;
    let before = process.times("Interval flushed");
    // Two more flushes, by what they leave at the admin port.
    let http = process.address("http=Some(").await;
    let mut seen = BTreeSet::new();
    until("it is quiet again", || {
        seen.insert(veneur::clock::now_ms() / 1_000);
        (seen.len() > 3).then_some(())
    })
    .await;
    assert_eq!(get(Some(http), "/healthcheck").await.0, 200);
    assert!(process.times("Interval flushed") <= before + 1, "{}", process.log());
}

#[tokio::test]
async fn a_condition_is_told_when_it_begins_and_when_it_is_over() {
    let process = Process::start(&["local"], Some(CONFIG));
    let to = process.address("address=udp://").await;
    process.says("Running").await;
    let mut seen = BTreeSet::new();
    until("several intervals have had bad lines", || {
        emit(to, "bad\nbad\nfine:1|c");
        seen.insert(veneur::clock::now_ms() / 1_000);
        (seen.len() > 3).then_some(())
    })
    .await;
    process.says("No such samples are refused any more").await;
    assert_eq!(process.times("Samples are refused"), 1, "{}", process.log());
    assert_eq!(process.times("No such samples are refused any more"), 1, "{}", process.log());
    assert!(process.log().contains("reason=\"missing_pipe\""), "{}", process.log());
}

#[tokio::test]
async fn a_limit_that_is_reached_is_told_once_with_its_end() {
    let process = Process::start(&["local"], Some(&format!("{CONFIG}max_contexts: 1\n")));
    let to = process.address("address=udp://").await;
    process.says("Running").await;
    let mut seen = BTreeSet::new();
    until("several intervals were too full", || {
        emit(to, "one:1|c\ntwo:1|c\nthree:1|c");
        seen.insert(veneur::clock::now_ms() / 1_000);
        (seen.len() > 3).then_some(())
    })
    .await;
    process.says("All samples find room again").await;
    assert_eq!(process.times("The limit of contexts or bytes is reached"), 1, "{}", process.log());
}

#[tokio::test]
async fn a_peer_and_a_sink_that_are_away_are_told_once_and_when_they_are_back() {
    // Addresses where nobody listens yet.
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.local_addr().expect("bound")
    };
    let (peer, away) = (free(), free());
    let sink = format!(
        "metric_sinks: [{{kind: datadog, name: dd, config: {{api_key: hunter2, api_hostname: 'http://{away}'}}}}]"
    );
    let process = Process::start(&["local"], Some(&format!("{CONFIG}forward_address: {peer}\n{sink}\n")));
    let to = process.address("address=udp://").await;
    process.says("Running").await;
    let mut seen = BTreeSet::new();
    until("both have failed for several intervals", || {
        emit(to, "own:1|c\nlatency:1|ms");
        seen.insert(veneur::clock::now_ms() / 1_000);
        let told = process.times("Peer cannot be reached") > 0 && process.times("Sink is failing") > 0;
        (seen.len() > 5 && told).then_some(())
    })
    .await;
    let global = Server { grpc_address: peer.to_string(), statsd_listen_addresses: Vec::new(), ..instance() };
    let global = server::start(&global).await.expect("the peer comes");
    let listener = TcpListener::bind(away).await.expect("the backend comes");
    let mut serving = JoinSet::new();
    serving.spawn(Arc::<Intake>::default().serve(listener));
    process.says("Peer is reached again").await;
    process.says("Sink recovered").await;
    for line in ["Peer cannot be reached", "Peer is reached again", "Sink is failing", "Sink recovered"] {
        assert_eq!(process.times(line), 1, "{line}: {}", process.log());
    }
    assert!(!process.log().contains("hunter2"));
    drop(process);
    global.stop().await;
}

#[tokio::test]
async fn a_stats_address_where_nobody_listens_is_told_once_and_when_somebody_does() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let stats = socket.local_addr().expect("bound");
    drop(socket);
    let process = Process::start(&["local"], Some(&format!("{CONFIG}stats_address: {stats}\n")));
    process.says("Self-metrics cannot be sent").await;
    let mut seen = BTreeSet::new();
    until("it has failed for several intervals", || {
        seen.insert(veneur::clock::now_ms() / 1_000);
        (seen.len() > 5).then_some(())
    })
    .await;
    let _socket = UdpSocket::bind(stats).expect("free again");
    process.says("Self-metrics are sent again").await;
    for line in ["Self-metrics cannot be sent", "Self-metrics are sent again"] {
        assert_eq!(process.times(line), 1, "{line}: {}", process.log());
    }
}

#[tokio::test]
async fn keys_without_effect_are_told_at_the_start() {
    let config = format!(
        "{CONFIG}sentry_dsn: hunter2\nflush_on_shutdown: true\nnum_workers: 96\nself_metrics: false\ncount_unique_timeseries: true\n"
    );
    let process = Process::start(&["local"], Some(&config));
    process.says("Running").await;
    for key in ["sentry_dsn", "flush_on_shutdown", "num_workers", "count_unique_timeseries"] {
        let told = process.log().lines().filter(|line| line.contains(key) && line.contains("no effect here")).count();
        assert_eq!(told, 1, "{key}: {}", process.log());
    }
    assert!(!process.log().contains("hunter2"));
}

/// Variable by which this very test is run as the process that the watchdog ends.
const STUCK: &str = "VENEUR_TEST_STUCK";

#[tokio::test]
async fn a_process_whose_flushes_stop_is_ended_with_one_line() {
    if std::env::var_os(STUCK).is_some() {
        veneur::log::Level::start(false);
        let begun = std::sync::atomic::AtomicU64::new(0);
        // Some flushes, and then none.
        let flushes = move || begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed).min(9);
        let _watchdog = veneur::watchdog::Watchdog::start(Duration::from_millis(20), 5, flushes).expect("a thread");
        std::thread::sleep(PATIENCE);
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "process::a_process_whose_flushes_stop_is_ended_with_one_line", "--nocapture"])
        .env(STUCK, "1");
    let mut process = Process::run(command);
    assert_eq!(process.ended().await.code(), Some(1), "{}", process.log());
    process.says("No flush has started: ending the process").await;
}

#[tokio::test]
async fn a_process_that_flushes_is_left_alone_and_one_that_was_stopped_too() {
    let mut process =
        Process::start(&["local"], Some(&format!("{CONFIG}flush_watchdog_missed_flushes: 3\ndebug: true\n")));
    process.says("Interval flushed").await;
    process.signal("STOP");
    tokio::time::sleep(Duration::from_secs(4)).await;
    process.signal("CONT");
    let before = process.times("Interval flushed");
    until("it flushes on", || (process.times("Interval flushed") > before + 2).then_some(())).await;
    process.signal("TERM");
    assert!(process.ended().await.success(), "{}", process.log());
}
