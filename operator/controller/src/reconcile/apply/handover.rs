//! Who owns `spec.replicas`, when an autoscaler comes or goes.
//!
//! A field that its only owner stops applying falls back to its default: one pod. So the number that is there is first
//! given to a second manager, and only then left out. An autoscaler that changes it takes it over by itself. On the way
//! back the number of the spec is simply applied, after the autoscaler is gone.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{Applier, ApplyError, Object, value};
use crate::labels::FIELD_MANAGER;

/// Holds `spec.replicas` until an autoscaler does.
pub(super) const HANDOVER_MANAGER: &str = "veneur-operator-handover";

impl Applier {
    /// Before a Deployment is applied without `replicas`: sees to it that the number that is there stays.
    pub(super) async fn hand_over(&self, desired: &Object, live: Option<&Value>) -> Result<(), ApplyError> {
        if desired.json.pointer("/spec/replicas").is_some() || live.is_none() {
            return Ok(());
        }
        let found = self.api(desired).get_opt(&desired.name).await;
        let found = found.map_err(|source| ApplyError::refused("get", desired, source))?.map(|found| value(&found));
        let Some(there) = found.filter(|there| owns_replicas(there, FIELD_MANAGER)) else { return Ok(()) };
        let Some(replicas) = there.pointer("/spec/replicas").and_then(Value::as_i64) else { return Ok(()) };
        tracing::info!(generation = self.generation, object = %desired, replicas, action = "hand over", "Leaving the number of pods to the autoscaler");
        self.set_replicas(desired, replicas).await.map(drop)
    }

    /// Gives the Deployment so many pods, as the second manager.
    pub(super) async fn set_replicas(&self, desired: &Object, replicas: i64) -> Result<Value, ApplyError> {
        let body = json!({
            "apiVersion": desired.json["apiVersion"],
            "kind": desired.json["kind"],
            "metadata": {"name": desired.name, "namespace": desired.namespace},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(HANDOVER_MANAGER).force();
        let answer = self.api(desired).patch(&desired.name, &params, &Patch::Apply(&body)).await;
        answer.map(|object| value(&object)).map_err(|source| ApplyError::refused("apply", desired, source))
    }
}

fn owns_replicas(object: &Value, manager: &str) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .any(|entry| entry["manager"] == manager && !entry["fieldsV1"]["f:spec"]["f:replicas"].is_null())
}
