//! What travels together, and the facts about it that are not part of any metric.

use prost::Message as _;
use tonic::metadata::MetadataMap;
use veneur_wire::metricpb::Metric;

/// Header by which a peer says that it understands our extensions, in requests and answers.
pub const EXTENSIONS: &str = "veneur-ext";
const SENDER: &str = "veneur-sender";
const SEQUENCE: &str = "veneur-sequence";

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
}

impl Batch {
    /// Splits metrics into batches of bounded size, numbered by `facts`.
    pub fn split(metrics: impl IntoIterator<Item = Metric>, mut facts: impl FnMut() -> Facts) -> Vec<Self> {
        let mut batches: Vec<Self> = Vec::new();
        for metric in metrics {
            let size = metric.encoded_len();
            match batches.last_mut() {
                Some(last) if last.metrics.len() < MOST_METRICS && last.bytes + size <= MOST_BYTES => {
                    last.metrics.push(metric);
                    last.bytes += size;
                }
                _ => batches.push(Self { facts: facts(), metrics: vec![metric], bytes: size }),
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

    /// Encoded size of its metrics.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes out the metrics that a peer of the original could not read or would misread, and says how many.
    pub(crate) fn keep_what_the_original_reads(&mut self) -> u64 {
        let before = self.len();
        self.metrics.retain(|metric| !metric.pass_through && metric.value.is_some());
        before - self.len()
    }
}

impl Facts {
    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        metadata.insert(EXTENSIONS, "1".parse().expect("a digit is a header value"));
        if let Ok(sender) = self.sender.parse() {
            metadata.insert(SENDER, sender);
            metadata.insert(SEQUENCE, self.sequence.into());
        }
    }

    pub(crate) fn read(metadata: &MetadataMap) -> Self {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        Self {
            sender: text(SENDER).unwrap_or_default().to_owned(),
            sequence: text(SEQUENCE).and_then(|number| number.parse().ok()).unwrap_or_default(),
        }
    }
}
