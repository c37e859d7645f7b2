//! What is published, in the data plane's words.

use veneur_config::{KindName, NameMatch, ScopeName};
use veneur_operator_api::{Aggregate, MetricType, Scope, ScopeRule};

/// Fractions in the spec's order, each once: `p50` and `p50.0` are one, as their points would bear the same name.
pub(super) fn percentiles(texts: &[String], problems: &mut Vec<String>) -> Vec<f64> {
    let mut percentiles = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match percentile(text) {
            Some(percentile) if percentiles.contains(&percentile) => {}
            Some(percentile) => percentiles.push(percentile),
            None => problems.push(format!("spec.aggregation.percentiles[{index}]: {text:?} is not like p99 or p99.9")),
        }
    }
    percentiles
}

/// `p99.9` is 0.999. The decimal point is moved in the text: dividing by 100 would leave 0.9990000000000001.
fn percentile(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('p')?;
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=2).contains(&whole.len()) || !plain(whole) || !plain(decimals) {
        return None;
    }
    let value: f64 = format!("0.{whole:0>2}{decimals}").parse().ok()?;
    (value > 0.0).then_some(value)
}

pub(super) fn aggregate(aggregate: Aggregate) -> veneur_config::Aggregate {
    match aggregate {
        Aggregate::Min => veneur_config::Aggregate::Min,
        Aggregate::Max => veneur_config::Aggregate::Max,
        Aggregate::Median => veneur_config::Aggregate::Median,
        Aggregate::Avg => veneur_config::Aggregate::Avg,
        Aggregate::Count => veneur_config::Aggregate::Count,
        Aggregate::Sum => veneur_config::Aggregate::Sum,
        Aggregate::HMean => veneur_config::Aggregate::Hmean,
    }
}

/// The data plane's rules for one of the spec's. `Fleet` is global for every type but gauges, and ends the search for those
/// too.
pub(super) fn scope_rules(rule: &ScopeRule) -> Vec<veneur_config::ScopeRule> {
    let name = match &rule.r#match {
        Some(test) => NameMatch::Prefix(test.name_prefix.clone()),
        None => NameMatch::Any,
    };
    let types: Vec<KindName> = rule.types.iter().copied().map(kind).collect();
    let with = |types: Vec<KindName>, scope| veneur_config::ScopeRule { name: name.clone(), types, scope };
    match rule.scope {
        Scope::Global => vec![with(types, ScopeName::Global)],
        Scope::Local => vec![with(types, ScopeName::Local)],
        Scope::Mixed => vec![with(types, ScopeName::Mixed)],
        Scope::Fleet => {
            let asked = |kind: &KindName| types.is_empty() || types.contains(kind);
            let merged = [KindName::Counter, KindName::Histogram, KindName::Timer, KindName::Set];
            let merged: Vec<KindName> = merged.into_iter().filter(asked).collect();
            // No types at all would mean every type.
            let global = (!merged.is_empty()).then(|| with(merged, ScopeName::Global));
            let gauges = asked(&KindName::Gauge).then(|| with(vec![KindName::Gauge], ScopeName::Mixed));
            global.into_iter().chain(gauges).collect()
        }
    }
}

fn kind(kind: MetricType) -> KindName {
    match kind {
        MetricType::Counter => KindName::Counter,
        MetricType::Gauge => KindName::Gauge,
        MetricType::Histogram => KindName::Histogram,
        MetricType::Timer => KindName::Timer,
        MetricType::Set => KindName::Set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_become_the_nearest_fraction() {
        for (text, fraction) in
            [("p50", 0.5), ("p5", 0.05), ("p05", 0.05), ("p99.9", 0.999), ("p99.999", 0.999_99), ("p0.1", 0.001)]
        {
            assert_eq!(percentile(text), Some(fraction), "{text}");
        }
        for text in ["p0", "p00.0", "p150", "p", "50", "p-5", "p5e1", "p.5", ""] {
            assert_eq!(percentile(text), None, "{text}");
        }
    }

    #[test]
    fn percentiles_of_one_value_count_once() {
        let texts = ["p50", "p5", "p50.0", "p99", "p05", "p50.00"].map(str::to_owned);
        assert_eq!(percentiles(&texts, &mut Vec::new()), [0.5, 0.05, 0.99]);
    }

    #[test]
    fn fleet_is_global_for_all_but_gauges() {
        let rules = |types: &[MetricType]| {
            let rule = ScopeRule { r#match: None, types: types.to_vec(), scope: Scope::Fleet };
            scope_rules(&rule).into_iter().map(|rule| (rule.types, rule.scope)).collect::<Vec<_>>()
        };
        let merged = vec![KindName::Counter, KindName::Histogram, KindName::Timer, KindName::Set];
        assert_eq!(rules(&[]), [(merged, ScopeName::Global), (vec![KindName::Gauge], ScopeName::Mixed)]);
        assert_eq!(rules(&[MetricType::Timer]), [(vec![KindName::Timer], ScopeName::Global)]);
        assert_eq!(rules(&[MetricType::Gauge]), [(vec![KindName::Gauge], ScopeName::Mixed)]);
    }
}
