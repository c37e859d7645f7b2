//! Entries to metrics and back: what the base64 holds, by type.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Refused, carries,
    entry::{Entry, MOST_TAGS},
    gob,
};
use crate::metricpb::{CounterValue, GaugeValue, HistogramValue, Metric, Scope, SetValue, Type, metric::Value};

/// Types by name, each with the scope that an entry of it arrives with.
const TYPES: [(&str, Type, Scope); 5] = [
    ("counter", Type::Counter, Scope::Global),
    ("gauge", Type::Gauge, Scope::Global),
    ("histogram", Type::Histogram, Scope::Mixed),
    ("set", Type::Set, Scope::Mixed),
    ("timer", Type::Timer, Scope::Mixed),
];

pub(super) fn metric(entry: Entry<'_>) -> Result<Metric, Refused> {
    let Entry { name, kind, tagstring, tags, value } = entry;
    let &(_, kind, scope) = TYPES.iter().find(|(name, ..)| *name == kind).ok_or(Refused::Type)?;
    let bytes = STANDARD.decode(value.as_bytes()).map_err(|_| Refused::Base64)?;
    let eight = || bytes.as_slice().try_into().map_err(|_| Refused::Length(bytes.len()));
    let value = match kind {
        Type::Counter => Value::Counter(CounterValue { value: i64::from_le_bytes(eight()?) }),
        Type::Gauge => Value::Gauge(GaugeValue { value: f64::from_le_bytes(eight()?) }),
        Type::Histogram | Type::Timer => Value::Histogram(HistogramValue { t_digest: Some(gob::read(&bytes)?) }),
        Type::Set => Value::Set(SetValue { hyper_log_log: bytes }),
    };
    let tags = if tagstring.is_empty() {
        tags.unwrap_or_default().into_iter().map(Cow::into_owned).collect()
    } else if tagstring.bytes().filter(|byte| *byte == b',').count() < MOST_TAGS {
        tagstring.split(',').map(str::to_owned).collect()
    } else {
        return Err(Refused::Shape);
    };
    Ok(Metric {
        name: name.into_owned(),
        tags,
        r#type: kind.into(),
        scope: scope.into(),
        value: Some(value),
        ..Metric::default()
    })
}

/// `None`: a body cannot carry it.
pub(super) fn entry(metric: &Metric) -> Option<Entry<'_>> {
    let (kind, ..) = TYPES.iter().find(|(_, kind, _)| i32::from(*kind) == metric.r#type)?;
    let value = match metric.value.as_ref().filter(|_| carries(metric))? {
        Value::Counter(counter) => STANDARD.encode(counter.value.to_le_bytes()),
        Value::Gauge(gauge) => STANDARD.encode(gauge.value.to_le_bytes()),
        Value::Histogram(histogram) => STANDARD.encode(gob::write(histogram.t_digest.as_ref()?)),
        Value::Set(set) => STANDARD.encode(&set.hyper_log_log),
    };
    let tags: Vec<Cow<'_, str>> = metric.tags.iter().map(|tag| tag.as_str().into()).collect();
    Some(Entry {
        name: metric.name.as_str().into(),
        kind: (*kind).into(),
        tagstring: tags.join(",").into(),
        tags: (!tags.is_empty()).then_some(tags),
        value: value.into(),
    })
}
