//! What travels together, and the facts about it that are not part of any metric.

use tonic::metadata::MetadataMap;
use veneur_ring::Member;
use veneur_wire::metricpb::Metric;

use crate::{
    dialect::Dialect,
    packed::{Packed, Packing},
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
const LEAVER_ADDRESS: &str = "veneur-leaver-address";

/// Metrics that are sent, answered and accounted for together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Who made it.
    pub facts: Facts,
    /// What it carries.
    pub(crate) metrics: Packed,
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
    /// The globals that gave it away one after the other, because they stop; none, as a rule. Routed as if they were no
    /// members.
    pub leavers: Vec<Leaver>,
}

/// A global that gives away what it owned, because it stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaver {
    /// What it calls itself.
    pub name: String,
    /// Where it imports, `HOST:PORT`: members that are known by their addresses have no other name. May be empty.
    pub address: String,
}

impl Batch {
    /// Splits metrics into batches of bounded size, numbered by `facts`.
    pub fn split(metrics: impl IntoIterator<Item = Metric>, facts: impl FnMut() -> Facts) -> Vec<Self> {
        let mut packing = Packing::default();
        metrics.into_iter().for_each(|metric| packing.encode(&metric));
        Self::of(packing, facts)
    }

    /// The same for metrics that are packed already.
    pub(crate) fn of(packing: Packing, mut facts: impl FnMut() -> Facts) -> Vec<Self> {
        packing.finish().into_iter().map(|metrics| Self { facts: facts(), metrics }).collect()
    }

    /// Metrics in it, as the ledgers count them.
    pub fn len(&self) -> u64 {
        self.metrics.len() as u64
    }

    /// Whether it carries nothing.
    pub fn is_empty(&self) -> bool {
        self.metrics.len() == 0
    }

    /// What its metrics take in memory, which is little more than what they take on the wire.
    pub fn bytes(&self) -> usize {
        self.metrics.bytes()
    }

    /// Its metrics, to do something else with them than to send them.
    pub fn into_metrics(self) -> Vec<Metric> {
        self.metrics.metrics().collect()
    }

    /// Takes out the metrics that a peer of the original could not read or would misread, and says how many: finished
    /// points, and what has no value of the original's kinds, as sketches of relative error.
    pub(crate) fn keep_what_the_original_reads(&mut self) -> u64 {
        self.metrics.keep(|head, _| !head.finished && head.has_value)
    }
}

impl Facts {
    /// Whether a member is one of the leavers.
    pub(crate) fn is_left_by(&self, member: &Member) -> bool {
        self.leavers.iter().any(|leaver| leaver.is(member))
    }

    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        metadata.insert(EXTENSIONS, "1".parse().expect("a digit is a header value"));
        if let Ok(sender) = self.sender.parse() {
            metadata.insert(SENDER, sender);
            metadata.insert(SEQUENCE, self.sequence.into());
        }
        if self.failover {
            metadata.insert(FAILOVER, "1".parse().expect("a digit is a header value"));
        }
        for Leaver { name, address } in &self.leavers {
            if let (Ok(name), Ok(address)) = (name.parse(), address.parse()) {
                metadata.append(LEAVER, name);
                metadata.append(LEAVER_ADDRESS, address);
            }
        }
    }

    pub(crate) fn read(metadata: &MetadataMap) -> Self {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        let texts = |key| metadata.get_all(key).iter().map(|value| value.to_str().unwrap_or_default());
        // One without its address is known by its name yet.
        let leavers = texts(LEAVER).zip(texts(LEAVER_ADDRESS).chain(std::iter::repeat("")));
        Self {
            sender: text(SENDER).unwrap_or_default().to_owned(),
            sequence: text(SEQUENCE).and_then(|number| number.parse().ok()).unwrap_or_default(),
            failover: metadata.contains_key(FAILOVER),
            leavers: leavers.map(|(name, address)| Leaver { name: name.into(), address: address.into() }).collect(),
        }
    }
}

impl Leaver {
    /// Whether it is this member: by its name, or by the address at which it, or its host by name, imports.
    fn is(&self, member: &Member) -> bool {
        if self.name.is_empty() {
            return false;
        }
        let (_, address) = Dialect::of(&member.address);
        let by_address = || !self.address.is_empty() && address == self.address;
        let by_host = || match (address.rsplit_once(':'), self.address.rsplit_once(':')) {
            (Some((host, port)), Some((_, own))) => host == self.name && port == own,
            _ => false,
        };
        member.name == self.name || by_address() || by_host()
    }
}

#[cfg(test)]
mod tests {
    use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
    use veneur_sketch::{RelativeSketch, TDigest};
    use veneur_wire::{encode_partial, metricpb};

    use super::*;

    #[test]
    fn a_leaver_is_known_by_its_name_and_by_where_it_imports() {
        let leaver = |name: &str, address: &str| Leaver { name: name.into(), address: address.into() };
        let leavers = vec![leaver("z", ""), leaver("a", "10.0.0.1:8128")];
        let facts = Facts { leavers, sequence: 7, ..Facts::default() };
        let is = |name: &str, address: &str| facts.is_left_by(&Member { name: name.into(), address: address.into() });
        assert!(is("z", "10.0.0.9:1") && is("a", "10.0.0.9:1"));
        assert!(is("10.0.0.1:8128", "10.0.0.1:8128") && is("a:8128", "grpc+unary://a:8128"));
        assert!(!is("b", "10.0.0.1:8129") && !is("a:8129", "a:8129") && !is("b", "10.0.0.2:8128"));
        assert!(!Facts::default().is_left_by(&Member { name: String::new(), address: String::new() }));
        let mut metadata = MetadataMap::new();
        facts.write(&mut metadata);
        assert_eq!(Facts::read(&metadata), facts);
    }

    #[test]
    fn a_peer_of_the_original_gets_no_event_and_no_check() {
        let name = "a".to_owned();
        let value = Some(metricpb::metric::Value::Counter(metricpb::CounterValue { value: 1 }));
        let partial = Metric { name: name.clone(), value, ..Metric::default() };
        let event = Metric { name: name.clone(), event: Some(Box::default()), pass_through: true, ..Metric::default() };
        let check = Metric { name, check: Some(Box::default()), pass_through: true, ..Metric::default() };
        let mut batch = Batch::split([event, partial.clone(), check], Facts::default).remove(0);
        assert_eq!(batch.keep_what_the_original_reads(), 2);
        assert_eq!(batch.metrics.metrics().collect::<Vec<_>>(), [partial]);
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
        assert!(batch.metrics.metrics().all(|metric| metric.value.is_some()) && batch.len() == 1);
    }
}
