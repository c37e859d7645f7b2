//! Objects of a tier or an option that the spec has no more.
//!
//! Removed is only what bears the pipeline's label, is controlled by the pipeline, and was applied by this operator.

use kube::api::{DeleteParams, Preconditions, PropagationPolicy};

use super::{Applied, Applier, ApplyError, Object, is_controlled_by};
use crate::{
    feeds::Key,
    kind::Kind,
    live::{Live, Stored},
};

/// When an orphan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// What would act on what is applied: autoscalers.
    BeforeApplying,
    /// Everything else.
    AfterApplying,
}

fn when(kind: Kind) -> When {
    if kind == Kind::HorizontalPodAutoscaler { When::BeforeApplying } else { When::AfterApplying }
}

/// The pipeline's objects that are not among `objects`.
pub(super) fn of(live: &Live, pipeline: &Key, objects: &[Object]) -> Vec<(Kind, Stored)> {
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_owned());
    kinds
        .flat_map(|kind| live.of_pipeline(kind, pipeline).into_iter().map(move |stored| (kind, stored)))
        .filter(|(kind, stored)| {
            let wanted = objects.iter().any(|object| object.kind == *kind && *object.name == *stored.name);
            !wanted && stored.ours && {
                let json = stored.json();
                is_controlled_by(&json, &pipeline.name) && json.pointer("/metadata/deletionTimestamp").is_none()
            }
        })
        .collect()
}

impl Applier {
    /// Removes what the spec has no more. Each by its uid, so that nothing that took its name meanwhile goes with it.
    pub(super) async fn remove_orphans(
        &self,
        pipeline: &Key,
        objects: &[Object],
        step: When,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        for (kind, stored) in of(&self.live, pipeline, objects) {
            if when(kind) != step {
                continue;
            }
            let api: kube::Api<kube::api::DynamicObject> =
                kube::Api::namespaced_with(self.client.clone(), &pipeline.namespace, &kind.resource());
            let params = DeleteParams {
                preconditions: Some(Preconditions { uid: Some(stored.uid.to_string()), resource_version: None }),
                propagation_policy: Some(PropagationPolicy::Background),
                ..DeleteParams::default()
            };
            match api.delete(&stored.name, &params).await {
                Ok(_) => {
                    let object = format!("{} {}", kind.as_str(), stored.name);
                    tracing::info!(%pipeline, generation = self.generation, object, action = "removed", "Object removed");
                    self.telemetry.object_written("removed");
                    applied.written.push(format!("removed {object}"));
                }
                // Gone already, or another took its name.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(source) => {
                    return Err(ApplyError::Refused {
                        verb: "delete",
                        kind: kind.as_str().to_owned(),
                        namespace: pipeline.namespace.clone(),
                        name: stored.name.to_string(),
                        source: Box::new(source),
                    });
                }
            }
        }
        Ok(())
    }
}
