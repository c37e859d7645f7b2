//! The original's last commit, which was never released: with executables of your own, at `LAST_VENEUR` and
//! `LAST_VENEUR_PROXY`, every position it can take.

use std::{env, fs, net::SocketAddr, path::Path};

use crate::{
    each_is_right,
    tier::Whose,
    way::{
        Dialect::{self, A, B, C},
        Way,
    },
};

/// It forwards in C alone. Its global takes nothing else, and its proxy no A; what its proxy forwards is a stream that
/// stays open, from which a global of 14.2.0 takes nothing.
fn ways() -> Vec<Way> {
    use Whose::{Last, Original, Ours};
    const ALL: [Whose; 3] = [Ours, Original, Last];
    let dialects = |whose| if whose == Last { &[C][..] } else { &Dialect::ALL };
    let mut ways = Vec::new();
    for (local, global) in ALL.into_iter().flat_map(|local| ALL.map(|global| (local, global))) {
        let last = local == Last || global == Last;
        for first in dialects(local).iter().copied() {
            let way = |proxy, second| Way { local, first, proxy, second, global };
            if last && dialects(global).contains(&first) {
                ways.push(way(None, first));
            }
            if last {
                ways.extend(dialects(global).iter().map(|second| way(Some(Ours), *second)));
            }
            if last && global != Last {
                ways.push(way(Some(Original), B));
            }
            if first != A && global != Original {
                ways.push(way(Some(Last), C));
            }
        }
    }
    ways
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the original's executables: cargo xtask test --only mixed"]
async fn every_mix_with_the_last_commit_publishes_what_was_sent() {
    if env::var_os("LAST_VENEUR").is_none() {
        println!("the last commit is not tried: LAST_VENEUR and LAST_VENEUR_PROXY say where its executables are");
        return;
    }
    each_is_right(&ways()).await;
}

/// Where a local or global publishes: the flat keys of 14.2.0 are gone.
pub(crate) fn sink_keys(datadog: SocketAddr) -> String {
    let config = format!("{{api_key: key, api_hostname: \"http://{datadog}\", flush_max_per_body: 25000}}");
    format!("metric_sinks: [{{kind: datadog, name: datadog, config: {config}}}]\n")
}

/// What a proxy has to be told: it has no defaults, and reads a certificate whether or not it is spoken to by TLS.
pub(crate) fn proxy_keys(folder: &Path) -> String {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let [certificate, key] = ["proxy.pem", "proxy.key"].map(|name| folder.join(name));
    fs::write(&certificate, identity.cert.pem()).expect("written");
    fs::write(&key, identity.signing_key.serialize_pem()).expect("written");
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        "grpc_tls_address: \"127.0.0.1:0\"\ntls: {{ca_file: {certificate}, cert_file: {certificate}, key_file: {key}}}\n\
         dial_timeout: 3s\nsend_buffer_size: 1024\nshutdown_timeout: 3s\nruntime_metrics_interval: 10s\n\
         grpc_server: {{connection_timeout: 10s}}\n\
         statsd: {{address: \"127.0.0.1:9\", aggregation_interval: 1s, channel_buffer_size: 64, \
         messages_per_payload: 10}}\n"
    )
}
