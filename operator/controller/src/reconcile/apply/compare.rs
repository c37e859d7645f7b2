//! Whether an object is as it was applied.
//!
//! What the API server adds by default and what others own is not looked at: each field that was applied has to be there
//! with its value. Entries of others are allowed in lists that are merged by a key, as server-side apply allows them.

use serde_json::Value;

/// Keys by which Kubernetes merges lists of objects.
const KEYS: [&str; 7] = ["name", "uid", "containerPort", "port", "mountPath", "topologyKey", "type"];

/// Whether `live` holds everything of `desired`.
pub(super) fn contains(live: &Value, desired: &Value) -> bool {
    within(live, desired, false)
}

fn within(live: &Value, desired: &Value, amounts: bool) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(key, desired)| {
            let amounts = amounts || matches!(key.as_str(), "requests" | "limits");
            match live.get(key) {
                // Who reads and writes it has left it out: kind and version are known from where it is.
                None => is_empty(desired) || matches!(key.as_str(), "apiVersion" | "kind"),
                Some(live) => within(live, desired, amounts),
            }
        }),
        (Value::Array(live), Value::Array(desired)) => {
            let keyed = desired.iter().all(|item| KEYS.iter().any(|key| !item[*key].is_null()));
            if keyed {
                // In their order, but others may stand between.
                let mut rest = live.iter();
                desired.iter().all(|desired| rest.any(|live| within(live, desired, amounts)))
            } else {
                live.len() == desired.len()
                    && live.iter().zip(desired).all(|(live, desired)| within(live, desired, amounts))
            }
        }
        (Value::String(live), Value::String(desired)) if amounts => {
            live == desired || amount(live).is_some_and(|live| Some(live) == amount(desired))
        }
        _ => live == desired || (is_empty(desired) && live.is_null()),
    }
}

/// What the API server leaves out: the zero of each type. Where zero is not the default, it is there.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
    }
}

/// A quantity in thousandths: the API server writes `1000m` as `1`, and `1024Mi` as `1Gi`.
fn amount(text: &str) -> Option<i128> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let unit: i128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        "Pi" => 1_000 << 50,
        _ => return None,
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let value: i128 = format!("{whole}{decimals}").parse().ok()?;
    value.checked_mul(unit)?.checked_div(scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_fields_of_others_are_no_drift() {
        let desired =
            json!({"kind": "Deployment", "spec": {"a": 1, "list": ["x"], "ports": [{"name": "p", "port": 1}]}});
        let live = json!({
            "metadata": {"uid": "u"},
            "spec": {"a": 1, "default": true, "list": ["x"], "ports": [{"name": "other"}, {"name": "p", "port": 1, "protocol": "TCP"}]},
        });
        assert!(contains(&live, &desired));
    }

    #[test]
    fn what_is_changed_or_gone_is_drift() {
        let desired = json!({"spec": {"a": 1, "args": ["x", "y"], "env": [{"name": "A", "value": "1"}], "rules": [{"verbs": ["get"]}]}});
        let good = desired.clone();
        assert!(contains(&good, &desired));
        for (path, value) in [
            ("/spec/a", json!(2)),
            ("/spec/args", json!(["x", "y", "z"])),
            ("/spec/env/0/value", json!("2")),
            ("/spec/env", json!([])),
            ("/spec/rules", json!([{"verbs": ["get"]}, {"verbs": ["delete"]}])),
        ] {
            let mut live = good.clone();
            *live.pointer_mut(path).expect("a path") = value;
            assert!(!contains(&live, &desired), "{path}");
        }
        assert!(!contains(&json!({"spec": {}}), &desired));
    }

    #[test]
    fn what_is_left_out_is_the_zero_of_its_type() {
        let desired = json!({"spec": {"publishNotReadyAddresses": false, "policy": "", "rules": [], "emptyDir": {}}});
        assert!(contains(&json!({}), &desired));
        assert!(!contains(&json!({"spec": {"publishNotReadyAddresses": true}}), &desired));
        assert!(!contains(&json!({}), &json!({"spec": {"replicas": 1}})));
    }

    #[test]
    fn an_amount_may_be_written_in_another_way() {
        let resources = |cpu: &str, memory: &str| json!({"resources": {"requests": {"cpu": cpu, "memory": memory}}});
        assert!(contains(&resources("1", "1Gi"), &resources("1000m", "1024Mi")));
        assert!(contains(&resources("500m", "1M"), &resources("0.5", "1000k")));
        assert!(!contains(&resources("1", "1Gi"), &resources("1", "1G")));
        assert!(!contains(&json!({"name": "1"}), &json!({"name": "1000m"})));
    }
}
