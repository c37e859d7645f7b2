//! Messages to values, or a reason.

use prost::Message as _;
use veneur_metric::{
    AlertType, Check, Context, Event, Kind, Partial, PartialValue, Point, PointKind, Priority, Scope, Stamp, Status,
    Tags,
};
use veneur_sketch::{Centroid, DigestError, HllError, HyperLogLog, RelativeError, TDigest};

use crate::{
    Outline,
    metricpb::{self, Metric, RelativeValue, check, event, metric::Value},
    relative,
    tdigest::MergingDigestData,
};

/// Longest interval a stamp may name, a day: anything above is a mistake, and arithmetic on it would be one too.
const LONGEST_INTERVAL_MS: u64 = 86_400_000;

/// Latest boundary a stamp may name (the year 9999), so that sums of boundaries and intervals stay far from overflow.
const LATEST_BOUNDARY_MS: u64 = 253_402_300_799_000;

/// Highest compression of a digest. The original's is 100, and 1,000 in its benches.
pub(crate) const HIGHEST_COMPRESSION: f64 = 10_000.0;

/// What a message carries.
#[derive(Debug)]
pub enum Item {
    /// A value to merge.
    Partial(Partial),
    /// A finished point of its sender, and the interval it was flushed in.
    Point(Point, Stamp),
    /// An event, and the interval it was read in.
    Event(Event, Stamp),
    /// The outcome of a service check, and the interval it was read in.
    Check(Check, Stamp),
}

/// Why a message carries nothing usable. It is refused alone; its neighbours are not touched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// No name.
    #[error("the metric has no name")]
    NoName,
    /// No value.
    #[error("the metric has no value")]
    NoValue,
    /// A value of the original's and one of ours.
    #[error("the metric has two values")]
    TwoValues,
    /// A type or scope number that is none of the protocol's.
    #[error("unknown {0} {1}")]
    UnknownEnum(&'static str, i32),
    /// The value is not one of the type.
    #[error("the value is not one of a {0}")]
    TypeMismatch(Kind),
    /// A local context, which never travels.
    #[error("a local metric is published where it was sampled and cannot be imported")]
    LocalScope,
    /// NaN or infinite.
    #[error("the value is not finite")]
    NotFinite,
    /// A stamp that names no interval.
    #[error("the stamp {0} ms + {1} ms names no interval")]
    BadStamp(u64, u64),
    /// A finished point without a stamp or time, or an event or check without a stamp.
    #[error("what is passed through needs a stamp, and a point a timestamp too")]
    Unstamped,
    /// More than one of value, event and check; or an event or check that is not marked to be passed through.
    #[error("a metric carries one thing, and an event or check is passed through")]
    Ambiguous,
    /// A compression by which the original would allocate, and that none of its digests has.
    #[error("digest has compression {0}: it must be above 0 and at most {HIGHEST_COMPRESSION}")]
    Compression(f64),
    /// The digest contradicts itself.
    #[error("digest refused")]
    Digest(#[from] DigestError),
    /// The sketch contradicts itself.
    #[error("sketch refused")]
    Relative(#[from] RelativeError),
    /// Bins whose parts do not belong together.
    #[error("sketch has {bins} bins and {weights} weights: each bin has one")]
    Bins {
        /// Bins announced.
        bins: usize,
        /// Weights given.
        weights: usize,
    },
    /// The set's registers cannot be read.
    #[error("set refused")]
    Set(#[from] HllError),
    /// A saturated register that is out of range.
    #[error("saturated register {0:#x} is out of range")]
    BadRegister(u32),
}

impl Refused {
    /// The label under which the ledger counts it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoName | Self::NoValue => "incomplete",
            Self::UnknownEnum(..) | Self::TypeMismatch(_) | Self::Ambiguous | Self::TwoValues => "type_mismatch",
            Self::LocalScope => "local_scope",
            Self::NotFinite => "not_finite",
            Self::BadStamp(..) | Self::Unstamped => "bad_stamp",
            Self::Compression(_) | Self::Digest(_) | Self::Relative(_) | Self::Bins { .. } => "bad_digest",
            Self::Set(_) | Self::BadRegister(_) => "bad_set",
        }
    }
}

/// Reads a message from its bytes, checking everything in it. Bytes that are no message at all have no name.
pub fn read(message: &[u8]) -> Result<Item, Refused> {
    match Outline::of(message).and_then(Outline::into_partial) {
        Some(partial) => Ok(Item::Partial(partial)),
        None => decode(&Metric::decode(message).unwrap_or_default()),
    }
}

/// Reads a message, checking everything in it.
pub fn decode(metric: &Metric) -> Result<Item, Refused> {
    let kind = kind(metric.r#type)?;
    let scope = scope(metric.scope)?;
    if metric.name.is_empty() {
        return Err(Refused::NoName);
    }
    let stamp = metric.stamp.as_ref().map(stamp).transpose()?;
    let tags = Tags::new(metric.tags.iter().map(String::as_str));
    let name = metric.name.as_str().into();
    if metric.event.is_some() || metric.check.is_some() {
        return notice(metric, tags, stamp);
    }

    if metric.pass_through {
        let stamp = stamp.filter(|_| metric.timestamp > 0).ok_or(Refused::Unstamped)?;
        let (kind, value) = match (kind, metric.value.as_ref().ok_or(Refused::NoValue)?) {
            (Kind::Counter, Value::Counter(counter)) => {
                (PointKind::Count, metric.exact_counter.unwrap_or(counter.value as f64))
            }
            (Kind::Gauge, Value::Gauge(gauge)) => (PointKind::Gauge, gauge.value),
            _ => return Err(Refused::TypeMismatch(kind)),
        };
        let value = finite(value)?;
        let point = Point { name, tags, kind, value, timestamp: metric.timestamp, interval: stamp.interval() };
        return Ok(Item::Point(point, stamp));
    }

    if scope == Scope::Local {
        return Err(Refused::LocalScope);
    }
    let value = match (kind, value(metric)?) {
        (Kind::Histogram | Kind::Timer, Wire::Relative(sketch)) => {
            PartialValue::Relative(Box::new(relative::decode(sketch)?))
        }
        (Kind::Counter, Wire::Value(Value::Counter(counter))) => {
            PartialValue::Counter(finite(metric.exact_counter.unwrap_or(counter.value as f64))?)
        }
        (Kind::Gauge, Wire::Value(Value::Gauge(gauge))) => PartialValue::Gauge(finite(gauge.value)?),
        (Kind::Histogram | Kind::Timer, Wire::Value(Value::Histogram(histogram))) => {
            PartialValue::Digest(digest(histogram.t_digest.as_ref().ok_or(Refused::NoValue)?)?)
        }
        (Kind::Set, Wire::Value(Value::Set(set))) => {
            PartialValue::Set(registers(&set.hyper_log_log, &metric.saturated_registers)?)
        }
        _ => return Err(Refused::TypeMismatch(kind)),
    };
    Ok(Item::Partial(Partial { context: Context { name, tags, kind, scope }, value, stamp }))
}

/// An event or a check.
fn notice(metric: &Metric, tags: Tags, stamp: Option<Stamp>) -> Result<Item, Refused> {
    let name = metric.name.as_str().into();
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    if !metric.pass_through || metric.value.is_some() {
        return Err(Refused::Ambiguous);
    }
    let stamp = stamp.ok_or(Refused::Unstamped)?;
    match (&metric.event, &metric.check) {
        (Some(event), None) => {
            let event = Event {
                title: name,
                text: event.text.as_str().into(),
                timestamp: event.timestamp,
                host: some(&event.host),
                aggregation_key: some(&event.aggregation_key),
                priority: priority(event.priority)?,
                source_type: some(&event.source_type),
                alert_type: alert_type(event.alert_type)?,
                tags,
            };
            Ok(Item::Event(event, stamp))
        }
        (None, Some(check)) => {
            let status = status(check.status)?;
            let (host, message) = (some(&check.host), some(&check.message));
            Ok(Item::Check(Check { name, status, timestamp: check.timestamp, host, message, tags }, stamp))
        }
        _ => Err(Refused::Ambiguous),
    }
}

/// The one value of a message.
enum Wire<'a> {
    Value(&'a Value),
    Relative(&'a RelativeValue),
}

fn value(metric: &Metric) -> Result<Wire<'_>, Refused> {
    match (&metric.value, &metric.relative) {
        (Some(value), None) => Ok(Wire::Value(value)),
        (None, Some(relative)) => Ok(Wire::Relative(relative)),
        (None, None) => Err(Refused::NoValue),
        (Some(_), Some(_)) => Err(Refused::TwoValues),
    }
}

fn digest(data: &MergingDigestData) -> Result<TDigest, Refused> {
    if !(data.compression > 0.0 && data.compression <= HIGHEST_COMPRESSION) {
        return Err(Refused::Compression(data.compression));
    }
    let centroids =
        data.main_centroids.iter().map(|centroid| Centroid { mean: centroid.mean, weight: centroid.weight }).collect();
    Ok(TDigest::from_centroids(centroids, data.min, data.max, data.reciprocal_sum)?)
}

fn registers(payload: &[u8], saturated: &[u32]) -> Result<HyperLogLog, Refused> {
    let mut set = HyperLogLog::decode(payload)?;
    for pair in saturated {
        let register = u16::try_from(pair >> 8).map_err(|_| Refused::BadRegister(*pair))?;
        if !set.raise(register, pair.to_le_bytes()[0]) {
            return Err(Refused::BadRegister(*pair));
        }
    }
    Ok(set)
}

pub(crate) fn stamp(stamp: &metricpb::Stamp) -> Result<Stamp, Refused> {
    let &metricpb::Stamp { boundary_ms, interval_ms } = stamp;
    let whole_seconds = (1_000..=LONGEST_INTERVAL_MS).contains(&interval_ms) && interval_ms.is_multiple_of(1_000);
    if !whole_seconds || boundary_ms > LATEST_BOUNDARY_MS {
        return Err(Refused::BadStamp(boundary_ms, interval_ms));
    }
    Ok(Stamp { boundary_ms, interval_ms })
}

fn finite(value: f64) -> Result<f64, Refused> {
    if value.is_finite() { Ok(value) } else { Err(Refused::NotFinite) }
}

fn kind(number: i32) -> Result<Kind, Refused> {
    Ok(match metricpb::Type::try_from(number).map_err(|_| Refused::UnknownEnum("type", number))? {
        metricpb::Type::Counter => Kind::Counter,
        metricpb::Type::Gauge => Kind::Gauge,
        metricpb::Type::Histogram => Kind::Histogram,
        metricpb::Type::Set => Kind::Set,
        metricpb::Type::Timer => Kind::Timer,
    })
}

fn scope(number: i32) -> Result<Scope, Refused> {
    Ok(match metricpb::Scope::try_from(number).map_err(|_| Refused::UnknownEnum("scope", number))? {
        metricpb::Scope::Mixed => Scope::Mixed,
        metricpb::Scope::Local => Scope::Local,
        metricpb::Scope::Global => Scope::Global,
    })
}

fn priority(number: i32) -> Result<Priority, Refused> {
    Ok(match event::Priority::try_from(number).map_err(|_| Refused::UnknownEnum("priority", number))? {
        event::Priority::Normal => Priority::Normal,
        event::Priority::Low => Priority::Low,
    })
}

fn alert_type(number: i32) -> Result<AlertType, Refused> {
    Ok(match event::AlertType::try_from(number).map_err(|_| Refused::UnknownEnum("alert type", number))? {
        event::AlertType::Info => AlertType::Info,
        event::AlertType::Error => AlertType::Error,
        event::AlertType::Warning => AlertType::Warning,
        event::AlertType::Success => AlertType::Success,
    })
}

fn status(number: i32) -> Result<Status, Refused> {
    Ok(match check::Status::try_from(number).map_err(|_| Refused::UnknownEnum("status", number))? {
        check::Status::Ok => Status::Ok,
        check::Status::Warning => Status::Warning,
        check::Status::Critical => Status::Critical,
        check::Status::Unknown => Status::Unknown,
    })
}
