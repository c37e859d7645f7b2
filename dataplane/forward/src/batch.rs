//! What travels together, and the facts about it that are not part of any metric.

use prost::Message as _;
use tonic::metadata::MetadataMap;
use veneur_wire::{
    metricpb::{Metric, RelativeBins, RelativeValue, metric::Value},
    tdigest::Centroid,
};

/// Header by which a peer says that it understands our extensions, in requests and answers.
pub const EXTENSIONS: &str = "veneur-ext";
/// Header of an answer: which process gave it.
pub(crate) const INSTANCE: &str = "veneur-instance";
/// Header of a refusal: nothing of the call was taken.
pub(crate) const UNREAD: &str = "veneur-unread";
const SENDER: &str = "veneur-sender";
const SEQUENCE: &str = "veneur-sequence";
const FAILOVER: &str = "veneur-failover";
const LEAVER: &str = "veneur-leaver";

/// Most metrics in one batch; at some hundred bytes for a typical partial, well below a connection's window.
const MOST_METRICS: usize = 4_096;

/// Most bytes in one batch, unless a single metric is larger.
const MOST_BYTES: usize = 1024 * 1024;

/// Metrics that are sent, answered and accounted for together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Who made it.
    pub facts: Facts,
    /// What it carries.
    pub metrics: Vec<Metric>,
    bytes: usize,
}

/// Facts about a batch, carried as request metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The instance that made the batch; empty for one that does not say, as the original.
    pub sender: String,
    /// Its place among the sender's batches.
    pub sequence: u64,
    /// Whether it goes to a member that does not own it, because the owner does not answer.
    pub failover: bool,
    /// The global that gives away what it owned, because it stops; empty otherwise. Routed as if it were no member.
    pub leaver: String,
}

impl Batch {
    /// Splits metrics into batches of bounded size, numbered by `facts`.
    pub fn split(metrics: impl IntoIterator<Item = Metric>, mut facts: impl FnMut() -> Facts) -> Vec<Self> {
        let mut batches: Vec<Self> = Vec::new();
        let mut encoded = 0;
        for metric in metrics {
            let (size, bytes) = (metric.encoded_len(), in_memory(&metric));
            encoded += size;
            match batches.last_mut() {
                Some(last) if last.metrics.len() < MOST_METRICS && encoded <= MOST_BYTES => {
                    last.metrics.push(metric);
                    last.bytes += bytes;
                }
                _ => {
                    batches.push(Self { facts: facts(), metrics: vec![metric], bytes });
                    encoded = size;
                }
            }
        }
        batches
    }

    /// Metrics in it, as the ledgers count them.
    pub fn len(&self) -> u64 {
        self.metrics.len() as u64
    }

    /// Whether it carries nothing.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    /// What its metrics take in memory, which is some four times what they take on the wire.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes out the metrics that a peer of the original could not read or would misread, and says how many: finished
    /// points, and what has no value of the original's kinds, as sketches of relative error.
    pub(crate) fn keep_what_the_original_reads(&mut self) -> u64 {
        self.keep(|metric| !metric.pass_through && metric.value.is_some())
    }

    /// Takes out the metrics that do not fit, and says how many.
    pub(crate) fn keep(&mut self, fits: impl Fn(&Metric) -> bool) -> u64 {
        let before = self.len();
        self.metrics.retain(fits);
        before - self.len()
    }
}

/// What a metric takes in memory, with what it points to.
fn in_memory(metric: &Metric) -> usize {
    let tags: usize = metric.tags.iter().map(|tag| size_of::<String>() + tag.capacity()).sum();
    let value = match &metric.value {
        Some(Value::Histogram(histogram)) => {
            let centroids = histogram.t_digest.as_ref().map_or(0, |digest| digest.main_centroids.capacity());
            centroids * size_of::<Centroid>()
        }
        Some(Value::Set(set)) => set.hyper_log_log.capacity(),
        Some(Value::Counter(_) | Value::Gauge(_)) | None => 0,
    };
    let event = metric.event.as_ref().map_or(0, |event| {
        let texts = [&event.text, &event.host, &event.aggregation_key, &event.source_type];
        size_of_val(&**event) + texts.map(String::capacity).iter().sum::<usize>()
    });
    let check = metric
        .check
        .as_ref()
        .map_or(0, |check| size_of_val(&**check) + check.host.capacity() + check.message.capacity());
    size_of::<Metric>()
        + metric.name.capacity()
        + tags
        + value
        + event
        + check
        + metric.relative.as_ref().map_or(0, relative_in_memory)
}

fn relative_in_memory(sketch: &RelativeValue) -> usize {
    let bins = |bins: &RelativeBins| {
        bins.gaps.capacity() * size_of::<u32>() + (bins.counts.capacity() + bins.weights.capacity()) * size_of::<u64>()
    };
    sketch.positive.iter().chain(&sketch.negative).map(bins).sum()
}

impl Facts {
    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        metadata.insert(EXTENSIONS, "1".parse().expect("a digit is a header value"));
        if let Ok(sender) = self.sender.parse() {
            metadata.insert(SENDER, sender);
            metadata.insert(SEQUENCE, self.sequence.into());
        }
        if self.failover {
            metadata.insert(FAILOVER, "1".parse().expect("a digit is a header value"));
        }
        if let Some(leaver) = Some(&self.leaver).filter(|leaver| !leaver.is_empty()).and_then(|name| name.parse().ok())
        {
            metadata.insert(LEAVER, leaver);
        }
    }

    pub(crate) fn read(metadata: &MetadataMap) -> Self {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        Self {
            sender: text(SENDER).unwrap_or_default().to_owned(),
            sequence: text(SEQUENCE).and_then(|number| number.parse().ok()).unwrap_or_default(),
            failover: metadata.contains_key(FAILOVER),
            leaver: text(LEAVER).unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
    use veneur_sketch::{RelativeSketch, TDigest};
    use veneur_wire::{encode_partial, metricpb};

    use super::*;

    #[test]
    fn a_peer_of_the_original_gets_no_event_and_no_check() {
        let name = "a".to_owned();
        let value = Some(Value::Counter(metricpb::CounterValue { value: 1 }));
        let partial = Metric { name: name.clone(), value, ..Metric::default() };
        let event = Metric { name: name.clone(), event: Some(Box::default()), ..Metric::default() };
        let check = Metric { name, check: Some(Box::default()), pass_through: true, ..Metric::default() };
        let mut batch = Batch::split([event, partial.clone(), check], Facts::default).remove(0);
        assert_eq!(batch.keep_what_the_original_reads(), 2);
        assert_eq!(batch.metrics, [partial]);
    }

    #[test]
    fn the_text_of_an_event_counts_as_memory() {
        let with = |text: String| {
            let event = Some(Box::new(metricpb::Event { text, ..metricpb::Event::default() }));
            Batch::split([Metric { event, ..Metric::default() }], Facts::default).remove(0).bytes()
        };
        assert!(with("x".repeat(1_000)) >= with(String::new()) + 1_000);
    }

    #[test]
    fn the_original_is_sent_digests_and_no_sketch_of_relative_error() {
        let (mut digest, mut sketch) = (TDigest::new(), RelativeSketch::new());
        assert!(digest.insert(7.0, 1.0) && sketch.insert(7.0, 1.0));
        let metrics = [PartialValue::Digest(digest), PartialValue::Relative(Box::new(sketch))].map(|value| {
            let context = Context { name: "a".into(), tags: Tags::none(), kind: Kind::Timer, scope: Scope::Mixed };
            encode_partial(Partial { context, value, stamp: None })
        });
        let [mut batch] = Batch::split(metrics, Facts::default).try_into().expect("one batch");
        assert_eq!(batch.keep_what_the_original_reads(), 1);
        assert!(batch.metrics.iter().all(|metric| metric.value.is_some()) && batch.len() == 1);
    }
}
