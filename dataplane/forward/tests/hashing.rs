//! Which member a proxy sends a metric to, by the original's ring and with tags that do not count.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet};
use veneur_forward::{
    Account, Facts,
    import::{Importer, Settings, Stopping, serve},
    lane::Limits,
    router::Router,
};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_ring::{Algorithm, Hashing, Key, Member, Ring, TagMatch};
use veneur_wire::{encode_partial, metricpb::Metric};

const LIMITS: Limits = Limits { max_bytes: 1024 * 1024, max_age: Duration::from_mins(1) };
const NAMES: usize = 40;
const BUCKETS: [&str; 3] = ["le:+Inf", "le:0.1", "le:0.5"];

#[derive(Default)]
struct Seen(Mutex<Vec<Metric>>);

impl Importer for Seen {
    fn import(&self, _: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        self.0.lock().expect("no test panics here").extend(metrics);
        Ok(())
    }
}

fn bucket(name: &str, le: &str) -> Metric {
    let tags = Tags::new([le, "env:prod", "zone:a"]);
    let context = Context { name: name.into(), tags, kind: Kind::Counter, scope: Scope::Global };
    encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: None })
}

#[tokio::test]
async fn contexts_that_differ_in_ignored_tags_alone_go_whole_to_the_member_that_the_ring_names() {
    for algorithm in [Algorithm::Rendezvous, Algorithm::Veneur] {
        let (mut serving, mut peers, mut members) = (JoinSet::new(), BTreeMap::new(), Vec::new());
        for number in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
            let address = listener.local_addr().expect("bound").to_string();
            let seen = Arc::new(Seen::default());
            peers.insert(address.clone(), Arc::clone(&seen));
            members.push(Member { name: format!("global-{number}"), address });
            serving.spawn(async move {
                serve(listener, Settings::default(), seen, std::future::pending()).await.expect("serves");
            });
        }
        let account = Arc::new(Account::default());
        let hashing = Hashing { algorithm, ignored: vec![TagMatch::Prefix("le:".into())] };
        let router = Router::new("proxy", Duration::from_secs(10), LIMITS, Arc::clone(&account)).with_hashing(hashing);
        router.change(0, members.clone());
        let name = |n: usize| format!("latency.{n}");
        let metrics = (0..NAMES).flat_map(|n| BUCKETS.map(|le| bucket(&name(n), le))).collect();
        router.import(&Facts::default(), metrics).expect("not stopping");
        router.drain(Duration::from_secs(10)).await;
        let ledger = account.snapshot();
        assert_eq!(ledger.acknowledged, (NAMES * BUCKETS.len()) as u64, "{ledger:?}");

        let ring = Ring::new(algorithm, members);
        for n in 0..NAMES {
            let owner = ring.owner(Key::new(algorithm, &name(n), "counter", "env:prod,zone:a")).expect("members");
            let seen = peers[&owner.address].0.lock().expect("not poisoned");
            let found: Vec<&Metric> = seen.iter().filter(|metric| metric.name == name(n)).collect();
            assert_eq!(found.len(), BUCKETS.len(), "{algorithm:?} {}", name(n));
            for le in BUCKETS {
                let tags = ["env:prod", le, "zone:a"];
                assert!(found.iter().any(|metric| metric.tags == tags), "{algorithm:?} {le}: {found:?}");
            }
        }
    }
}
