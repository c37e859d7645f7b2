//! What locals forward, one message for each context: of 20, five timers and one histogram with 100 centroids, six
//! timers and two histograms with a few values, three sets, two counters and one gauge.
//!
//! A context is a number; its message follows from it. One set in twenty is dense. Four tags stand in the alphabet's
//! order, as a local sends them; nothing is stamped, as the original's messages are not.

use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_sketch::{Centroid, HyperLogLog, TDigest};
use veneur_wire::{encode_partial, metricpb::Metric};

use crate::mix::{CODES, REGIONS, SERVICES, SUBJECTS, pick};

/// Contexts that share a name.
const CONTEXTS_OF_A_NAME: u32 = 20;

/// Centroids of a digest that has seen much.
const CENTROIDS: u32 = 100;

/// Values behind them.
const VALUES: f64 = 2_000.0;

/// Members of a dense set, and the most of others.
const DENSE_MEMBERS: u32 = 20_000;
const SPARSE_MEMBERS: u32 = 200;

/// Which contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// The mix above.
    Mix,
    /// Timers of 100 centroids, and nothing else.
    Timers,
}

/// The message of `context`.
pub fn metric(context: u32, what: What) -> Metric {
    let name = context / CONTEXTS_OF_A_NAME;
    let (kind, value) = match (what, name % 20) {
        (What::Timers, _) | (What::Mix, 0..5) => (Kind::Timer, large(context)),
        (What::Mix, 5) => (Kind::Histogram, large(context)),
        (What::Mix, 6..12) => (Kind::Timer, small(context)),
        (What::Mix, 12 | 13) => (Kind::Histogram, small(context)),
        (What::Mix, 14..17) => (Kind::Set, set(context)),
        (What::Mix, 17 | 18) => (Kind::Counter, PartialValue::Counter(f64::from(1 + context % 1_000))),
        (What::Mix, _) => (Kind::Gauge, PartialValue::Gauge(0.5 + f64::from(context % 1_000))),
    };
    let scope = if matches!(kind, Kind::Counter | Kind::Gauge) { Scope::Global } else { Scope::Mixed };
    let service = pick(&SERVICES, name);
    let tags = [
        format!("code:{}", pick(&CODES, context / 4)),
        format!("endpoint:h{context:08}"),
        format!("region:{}", pick(&REGIONS, context)),
        format!("service:{service}"),
    ];
    let name = format!("{service}.{}.{name:06}", pick(&SUBJECTS, name / 8)).into();
    let context = Context { name, tags: Tags::new(tags.iter().map(String::as_str)), kind, scope };
    encode_partial(Partial { context, value, stamp: None })
}

/// Most requests are fast and some are slow. `share` of them are faster than this.
fn latency(share: f64, context: u32) -> f64 {
    2.0 + f64::from(context % 97) / 8.0 + 10.0 * share + 400.0 * share.powi(12)
}

/// Centroids that are narrow at both ends and wide in the middle, as every t-digest's are.
fn large(context: u32) -> PartialValue {
    let rank = |part: u32| VALUES * (0.5 - (std::f64::consts::PI * f64::from(part) / f64::from(CENTROIDS)).cos() / 2.0);
    let centroids: Vec<Centroid> = (0..CENTROIDS)
        .map(|part| {
            let (from, to) = (rank(part), rank(part + 1));
            Centroid { mean: latency(f64::midpoint(from, to) / VALUES, context), weight: (to - from).round().max(1.0) }
        })
        .collect();
    let (min, max) = (latency(0.0, context), latency(1.0, context));
    let reciprocal_sum = centroids.iter().map(|centroid| centroid.weight / centroid.mean).sum();
    let digest = TDigest::from_centroids(centroids, min, max, reciprocal_sum);
    PartialValue::Digest(digest.expect("means ascend between the extremes"))
}

fn small(context: u32) -> PartialValue {
    let (mut digest, values) = (TDigest::new(), 1 + context % 8);
    for value in 0..values {
        let taken = digest.insert(latency(f64::from(value) / f64::from(values), context), 1.0);
        assert!(taken, "latencies are finite");
    }
    PartialValue::Digest(digest)
}

fn set(context: u32) -> PartialValue {
    let mut set = HyperLogLog::new();
    let members = if (context / 7).is_multiple_of(20) { DENSE_MEMBERS } else { 1 + context % SPARSE_MEMBERS };
    (0..members).for_each(|member| set.insert(format!("user{:08}", member + context % 5 * 1_000).as_bytes()));
    PartialValue::Set(set)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use veneur_wire::{Item, decode, metricpb::metric::Value};

    use super::*;

    #[test]
    fn every_message_is_a_valid_partial_of_its_own_context() {
        let mut contexts = std::collections::BTreeSet::new();
        for number in 0..2_000 {
            let Ok(Item::Partial(partial)) = decode(&metric(number, What::Mix)) else { panic!("{number} is none") };
            assert!(contexts.insert(partial.context));
        }
    }

    #[test]
    fn a_digest_that_has_seen_much_has_100_centroids() {
        let message = metric(7, What::Timers);
        let Some(Value::Histogram(histogram)) = &message.value else { panic!("{message:?}") };
        assert_eq!(histogram.t_digest.as_ref().map(|digest| digest.main_centroids.len()), Some(100));
        assert!(message.encoded_len() > 2_000);
    }
}
