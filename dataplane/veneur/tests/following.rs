//! Locals that follow the settings of whom they forward to, as processes: nobody is restarted, and nothing is lost.

#[expect(dead_code, reason = "nothing is killed here")]
#[path = "fleet/process.rs"]
mod process;

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use veneur_intake::{Intake, Received};

use process::{PATIENCE, Process, Program, free, free_udp};

const TIER: &str = "interval: 1s\nsynchronize_with_interval: true\nself_metrics: false\n";

/// A tier, and a local that forwards to its first instance.
struct Tier {
    intake: Arc<Intake>,
    global: Process,
    proxy: Option<Process>,
    local: Process,
    dogstatsd: SocketAddr,
    /// Who offers: its file, and what is in it besides.
    offers: (std::path::PathBuf, String),
    sent: u64,
    _intake: JoinSet<std::io::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Tier {
    /// `follows` is what the local's file says of that.
    async fn start(with_proxy: bool, follows: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let sink = listener.local_addr().expect("bound");
        let (intake, mut serving) = (Arc::new(Intake::default()), JoinSet::new());
        serving.spawn(Arc::clone(&intake).serve(listener));
        let folder = tempfile::tempdir().expect("a folder");
        let start = |role, http, text: &str| Process::start(Program::ours(role), folder.path(), role, http, text);

        let (mut to, http) = (free(), free());
        let global_text = format!(
            "{TIER}grpc_address: \"{to}\"\nhttp_address: \"{http}\"\nmetric_sinks:\n- name: datadog\n  kind: datadog\n  \
             config: {{api_key: key, api_hostname: \"http://{sink}\"}}\n"
        );
        let mut offers = (folder.path().join("global.yaml"), global_text.clone());
        let first = |offer: bool, text: &str| if offer { with(text, "a") } else { text.to_owned() };
        let global = start("global", http, &first(!with_proxy, &global_text));
        let proxy = with_proxy.then(|| {
            let (grpc, http) = (free(), free());
            let text = format!(
                "interval: 1s\nself_metrics: false\ngrpc_address: \"{grpc}\"\nhttp_address: \"{http}\"\n\
                 forward_addresses: [\"{to}\"]\n"
            );
            to = grpc;
            offers = (folder.path().join("proxy.yaml"), text.clone());
            start("proxy", http, &with(&text, "a"))
        });
        let (http, dogstatsd) = (free(), free_udp());
        let text = format!(
            "{TIER}hostname: pod\nstatsd_listen_addresses: [\"udp://{dogstatsd}\"]\nhttp_address: \"{http}\"\n\
             forward_address: \"{to}\"\nforward_points: true\n{follows}extend_tags: [team:first]\n\
             instance_tags: [tier:own]\n"
        );
        let local = start("local", http, &text);
        let mut tier =
            Self { intake, global, proxy, local, dogstatsd, offers, sent: 0, _intake: serving, _folder: folder };
        for process in [&mut tier.global, &mut tier.local].into_iter().chain(&mut tier.proxy) {
            process.ready().await;
        }
        tier
    }

    fn offer(&self, team: &str) {
        let (file, text) = &self.offers;
        replace(file, &with(text, team));
    }

    fn hits(&self) -> Vec<Received> {
        self.intake.received().into_iter().filter(|point| point.metric == "hits").collect()
    }

    fn published(&self) -> f64 {
        self.hits().iter().map(Received::total).sum()
    }

    /// Sends until a point with these tags is published.
    async fn until_published_with(&mut self, tags: &[&str]) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let deadline = Instant::now() + PATIENCE;
        while !self.hits().iter().any(|point| tags.iter().all(|tag| point.tags.iter().any(|other| other == tag))) {
            assert!(Instant::now() < deadline, "no point with {tags:?}: {:?}\n{}", self.hits(), self.local.log());
            socket.send_to(b"hits:1|c|#veneurglobalonly", self.dogstatsd).expect("loopback takes it");
            self.sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The file of who offers a team, and a tag that the local has of its own.
fn with(text: &str, team: &str) -> String {
    format!("{text}local_settings: {{extend_tags: [\"team:{team}\", \"tier:of-all\"]}}\n")
}

/// As the kubelet replaces the files of a `ConfigMap`: never half of one.
fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    fs::write(&next, text).expect("written");
    fs::rename(&next, file).expect("replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_takes_what_its_proxy_or_global_offers_without_a_restart() {
    for with_proxy in [true, false] {
        let mut tier = Tier::start(with_proxy, "follow_settings: true\n").await;
        tier.until_published_with(&["team:a", "tier:own"]).await;
        tier.offer("b");
        tier.until_published_with(&["team:b", "tier:own"]).await;

        let offering = tier.proxy.as_ref().unwrap_or(&tier.global).status().await;
        let following = tier.local.status().await;
        assert!(offering["settings"]["offered"].is_string(), "{offering:#}");
        assert_eq!(following["settings"]["followed"], offering["settings"]["offered"]);
        let log = tier.local.log();
        assert_eq!(log.matches("Offered setting taken").count(), 2, "each change is told, once: {log}");

        for process in [&mut tier.local].into_iter().chain(&mut tier.proxy).chain([&mut tier.global]) {
            process.stop().await;
        }
        let published = tier.published();
        assert!((published - tier.sent as f64).abs() < 1e-6, "{} sent, {published} published", tier.sent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_takes_a_changed_file_and_every_sample_counts() {
    let mut tier = Tier::start(false, "").await;
    tier.until_published_with(&["team:first", "tier:own"]).await;
    let file = tier.local.configuration().to_owned();
    let text = fs::read_to_string(&file).expect("is there");
    for team in ["second", "third"] {
        replace(&file, &text.replace("team:first", &format!("team:{team}")));
        tier.local.hang_up();
        tier.until_published_with(&[&format!("team:{team}"), "tier:own"]).await;
    }
    tier.local.stop().await;
    tier.global.stop().await;
    let published = tier.published();
    assert!((published - tier.sent as f64).abs() < 1e-6, "{} sent, {published} published", tier.sent);
}
