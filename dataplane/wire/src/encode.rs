//! Values to messages.

use veneur_metric::{
    AlertType, Check, Context, Event, Kind, Partial, PartialValue, Point, PointKind, Priority, Scope, Stamp, Status,
    Tags,
};
use veneur_sketch::{HyperLogLog, TDigest};

use crate::{
    metricpb,
    metricpb::{CounterValue, GaugeValue, HistogramValue, Metric, SetValue, check, event, metric::Value},
    relative, tdigest,
};

/// The message of a partial. Byte for byte the original's as long as the value fits its fields.
pub fn encode_partial(partial: Partial) -> Metric {
    let Partial { context: Context { name, tags, kind, scope }, value, stamp } = partial;
    let mut metric = Metric {
        name: (*name).to_owned(),
        tags: tags.iter().map(str::to_owned).collect(),
        r#type: wire_type(kind).into(),
        scope: wire_scope(scope).into(),
        stamp: stamp.map(wire_stamp),
        ..Metric::default()
    };
    metric.value = match value {
        PartialValue::Counter(total) => Some(counter(total, &mut metric.exact_counter)),
        PartialValue::Gauge(value) => Some(Value::Gauge(GaugeValue { value })),
        PartialValue::Digest(digest) => Some(histogram(digest)),
        PartialValue::Relative(sketch) => {
            metric.relative = Some(relative::encode(&sketch));
            None
        }
        PartialValue::Set(set) => {
            metric.saturated_registers = saturated(&set);
            Some(Value::Set(SetValue { hyper_log_log: set.encode() }))
        }
    };
    metric
}

/// The message of a finished point, to be published as it is. `stamp` is the interval it was flushed in, which decides
/// its route; its interval is the one the point covers.
pub fn encode_point(point: Point, stamp: Stamp) -> Metric {
    let Point { name, tags, kind, value, timestamp, interval: _ } = point;
    let mut exact_counter = None;
    let (kind, value) = match kind {
        PointKind::Count => (metricpb::Type::Counter, counter(value, &mut exact_counter)),
        PointKind::Gauge => (metricpb::Type::Gauge, Value::Gauge(GaugeValue { value })),
    };
    Metric {
        name: (*name).to_owned(),
        tags: tags.iter().map(str::to_owned).collect(),
        r#type: kind.into(),
        value: Some(value),
        scope: metricpb::Scope::Local.into(),
        exact_counter,
        timestamp,
        stamp: Some(wire_stamp(stamp)),
        pass_through: true,
        ..Metric::default()
    }
}

/// The message of an event. `stamp` is the interval it was read in, which decides its route.
pub fn encode_event(event: Event, stamp: Stamp) -> Metric {
    let Event { title, text, timestamp, host, aggregation_key, priority, source_type, alert_type, tags } = event;
    let event = metricpb::Event {
        text: text.into(),
        timestamp,
        host: text_or_empty(host),
        aggregation_key: text_or_empty(aggregation_key),
        priority: match priority {
            Priority::Normal => event::Priority::Normal,
            Priority::Low => event::Priority::Low,
        }
        .into(),
        source_type: text_or_empty(source_type),
        alert_type: match alert_type {
            AlertType::Error => event::AlertType::Error,
            AlertType::Warning => event::AlertType::Warning,
            AlertType::Info => event::AlertType::Info,
            AlertType::Success => event::AlertType::Success,
        }
        .into(),
    };
    Metric { event: Some(Box::new(event)), ..notice(title, &tags, stamp) }
}

/// The message of a service check's outcome. `stamp` is the interval it was read in, which decides its route.
pub fn encode_check(check: Check, stamp: Stamp) -> Metric {
    let Check { name, status, timestamp, host, message, tags } = check;
    let check = metricpb::Check {
        status: match status {
            Status::Ok => check::Status::Ok,
            Status::Warning => check::Status::Warning,
            Status::Critical => check::Status::Critical,
            Status::Unknown => check::Status::Unknown,
        }
        .into(),
        timestamp,
        host: text_or_empty(host),
        message: text_or_empty(message),
    };
    Metric { check: Some(Box::new(check)), ..notice(name, &tags, stamp) }
}

/// What passes through without being a number: an old peer finds no value, and a local scope, and takes nothing.
fn notice(name: Box<str>, tags: &Tags, stamp: Stamp) -> Metric {
    Metric {
        name: name.into(),
        tags: tags.iter().map(str::to_owned).collect(),
        scope: metricpb::Scope::Local.into(),
        stamp: Some(wire_stamp(stamp)),
        pass_through: true,
        ..Metric::default()
    }
}

fn text_or_empty(text: Option<Box<str>>) -> String {
    text.map(String::from).unwrap_or_default()
}

/// A counter for the original's field, rounded; what rounding loses travels whole in the extension field.
fn counter(total: f64, exact: &mut Option<f64>) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and then the exact field is set")]
    let value = total.round() as i64;
    #[expect(clippy::float_cmp, reason = "anything that does not come back the same needs the exact field")]
    if value as f64 != total {
        *exact = Some(total);
    }
    Value::Counter(CounterValue { value })
}

fn histogram(mut digest: TDigest) -> Value {
    let main_centroids = digest
        .centroids()
        .iter()
        .map(|centroid| tdigest::Centroid { mean: centroid.mean, weight: centroid.weight, samples: Vec::new() })
        .collect();
    Value::Histogram(HistogramValue {
        t_digest: Some(tdigest::MergingDigestData {
            main_centroids,
            compression: TDigest::COMPRESSION,
            min: digest.min(),
            max: digest.max(),
            reciprocal_sum: digest.reciprocal_sum(),
        }),
    })
}

fn saturated(set: &HyperLogLog) -> Vec<u32> {
    set.saturated().into_iter().map(|(register, rank)| u32::from(register) << 8 | u32::from(rank)).collect()
}

fn wire_type(kind: Kind) -> metricpb::Type {
    match kind {
        Kind::Counter => metricpb::Type::Counter,
        Kind::Gauge => metricpb::Type::Gauge,
        Kind::Histogram => metricpb::Type::Histogram,
        Kind::Timer => metricpb::Type::Timer,
        Kind::Set => metricpb::Type::Set,
    }
}

fn wire_scope(scope: Scope) -> metricpb::Scope {
    match scope {
        Scope::Mixed => metricpb::Scope::Mixed,
        Scope::Local => metricpb::Scope::Local,
        Scope::Global => metricpb::Scope::Global,
    }
}

fn wire_stamp(stamp: Stamp) -> metricpb::Stamp {
    metricpb::Stamp { boundary_ms: stamp.boundary_ms, interval_ms: stamp.interval_ms }
}
