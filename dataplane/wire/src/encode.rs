//! Values to messages.

use veneur_metric::{Context, Kind, Partial, PartialValue, Point, PointKind, Scope, Stamp};
use veneur_sketch::{HyperLogLog, TDigest};

use crate::{
    metricpb,
    metricpb::{CounterValue, GaugeValue, HistogramValue, Metric, SetValue, metric::Value},
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
        saturated_registers: Vec::new(),
        relative: None,
    }
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
