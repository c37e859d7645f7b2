//! A pod that asks for a pipeline gets a sidecar. Pure: a pod and the pipelines in, a JSON patch out.
//!
//! The patch names what it changes and nothing else: a pod is never decoded into a type and written back, which would
//! drop every field newer than the type. Deciding again on a patched pod changes nothing, so that the API server may
//! ask again after other webhooks; containers that were added meanwhile get their environment.
//!
//! Every pod that asked leaves with a stamp: what it got, or why it got nothing. No pod is refused here; what the
//! sidecar asks for counts in the quotas of the pod's namespace, which may refuse it.
//!
//! Not here: the web server ([`crate::webhook`]).

mod choice;
mod environment;
mod patch;
mod pod;
mod sidecar;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use veneur_operator_api::VeneurPipeline;

use crate::{
    context::Defaults,
    labels::{PIPELINE, PIPELINE_NAMESPACE},
    reconcile::{
        revision,
        validate::{Validated, validate},
    },
};
pub use patch::Patch;
use pod::Pod;

/// Annotation or label that asks: `true`, `false`, NAME or NAMESPACE/NAME.
pub const INJECT: &str = "veneur.dev/inject";
/// Annotation: what the pod got, as JSON.
pub const STATUS: &str = "veneur.dev/status";
/// Annotation: why the pod got nothing.
pub const SKIPPED: &str = "veneur.dev/skipped";
/// Label: the pod has a sidecar.
pub const INJECTED: &str = "veneur.dev/injected";

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did not ask, or opted out.
    Untouched,
    /// It gets a sidecar of the pipeline `NAMESPACE/NAME`; on a second look the patch may be empty.
    Injected {
        /// The pipeline.
        pipeline: String,
        /// What changes.
        patch: Patch,
    },
    /// It asked in vain; the patch only says why.
    Skipped {
        /// Why.
        skip: Skip,
        /// The stamp.
        patch: Patch,
    },
}

impl Outcome {
    /// What changes; empty for an untouched pod.
    pub fn patch(&self) -> &Patch {
        const NOTHING: &Patch = &Patch::new();
        match self {
            Self::Untouched => NOTHING,
            Self::Injected { patch, .. } | Self::Skipped { patch, .. } => patch,
        }
    }
}

/// Why a pod gets no sidecar: a reason of a closed list, and the case at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason:?}: {detail}")]
pub struct Skip {
    /// The reason.
    pub reason: SkipReason,
    /// The case at hand, and what to do where something can be done.
    pub detail: String,
}

/// Reasons for which a pod gets no sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It asks for the pipeline of its namespace, which has none.
    NoPipeline,
    /// It asks for the pipeline of its namespace, which has several.
    AmbiguousPipeline,
    /// The pipeline that it names does not exist.
    PipelineNotFound,
    /// The pipeline exists, but its spec is not accepted.
    PipelineNotAccepted,
    /// What it asks with cannot be read.
    InvalidAnnotation,
    /// It has a container named `veneur` that is not ours.
    AlreadyInjected,
    /// It uses the node's network, where two sidecars would share one port.
    HostNetworkPortConflict,
    /// One of its containers declares a port of the sidecar.
    PortInUse,
    /// It bounds its containers' resources together, and its author did not count the sidecar's.
    PodLevelResources,
    /// It does not run on Linux.
    UnsupportedOS,
    /// The sidecar's configuration does not fit into the pod.
    ConfigTooLarge,
}

impl SkipReason {
    fn because(self, detail: impl Into<String>) -> Skip {
        Skip { reason: self, detail: detail.into() }
    }
}

/// The stamp on an injected pod. Without a time, so that deciding twice gives the same.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    pipeline: String,
    revision: String,
    mode: String,
    containers: Vec<String>,
    kept: BTreeSet<String>,
}

/// Decides on a pod that is created in `namespace`.
///
/// A value that is no pod is left alone: the API server refuses it itself, with the better message.
pub fn decide(pod: &Value, namespace: &str, pipelines: &[&VeneurPipeline], defaults: &Defaults) -> Outcome {
    let Ok(pod) = Pod::read(pod) else {
        return Outcome::Untouched;
    };
    match choice::choose(&pod, namespace, pipelines) {
        Ok(None) => Outcome::Untouched,
        Ok(Some(pipeline)) => match inject(&pod, pipeline, defaults) {
            Ok((pipeline, patch)) => Outcome::Injected { pipeline, patch },
            Err(skip) => skipped(&pod, skip),
        },
        Err(skip) => skipped(&pod, skip),
    }
}

fn skipped(pod: &Pod<'_>, skip: Skip) -> Outcome {
    let mut patch = Patch::new();
    patch.set_all("annotations", pod.annotations, &[(SKIPPED, skip.to_string())]);
    Outcome::Skipped { skip, patch }
}

fn inject(pod: &Pod<'_>, pipeline: &VeneurPipeline, defaults: &Defaults) -> Result<(String, Patch), Skip> {
    pod.fits()?;
    let stamp = pod.annotation(STATUS).and_then(|text| serde_json::from_str::<Stamp>(text).ok());
    if pod.has_foreign_sidecar(stamp.is_some()) {
        let detail =
            "the pod has a container named \"veneur\" that was not injected: rename it, or remove the annotation";
        return Err(SkipReason::AlreadyInjected.because(detail));
    }
    let validated = validate(pipeline, defaults).map_err(|invalid| {
        let (namespace, name) = (pipeline.metadata.namespace.as_deref(), pipeline.metadata.name.as_deref());
        let id = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        SkipReason::PipelineNotAccepted.because(format!("{id}: {invalid}"))
    })?;
    let container = sidecar::container(&validated)?;
    let id = format!("{}/{}", validated.namespace, validated.name);

    let mut patch = Patch::new();
    let environment = environment::add(pod, &mut patch);
    // The sidecar of an earlier look stays as it is, whatever the pipeline says meanwhile; one of another pipeline goes:
    // its stamp came with a copied pod, or the wish was changed since.
    let earlier = stamp.filter(|stamp| pod.sidecar().is_some() && stamp.pipeline == id);
    let revision =
        earlier.as_ref().map_or_else(|| revision::of(&container.to_string()), |stamp| stamp.revision.clone());
    place(pod, container, earlier.is_some(), &mut patch);
    if !pod.has_volume(sidecar::NO_TOKEN) {
        patch.append("volumes", pod.volumes, sidecar::no_token_volume());
    }
    let stamp = Stamp {
        pipeline: id.clone(),
        revision,
        mode: "native".to_owned(),
        containers: environment.containers,
        kept: environment.kept,
    };
    stamp_pod(pod, &validated, &stamp, &mut patch);
    Ok((id, patch))
}

/// After the mesh, so that it outlives us and our last send passes through it; before everything else, so that no
/// container of the application sends into the void. One that is there and not to be kept is replaced.
fn place(pod: &Pod<'_>, container: Value, keep: bool, patch: &mut Patch) {
    let target = pod.sidecar_position();
    if let Some(current) = pod.sidecar()
        && !keep
    {
        patch.replace("initContainers", current, container.clone());
    }
    match pod.sidecar() {
        Some(current) if current == target => {}
        Some(current) => patch.shift("initContainers", current, target),
        None => patch.insert("initContainers", pod.init_containers, target, container),
    }
}

fn stamp_pod(pod: &Pod<'_>, pipeline: &Validated, stamp: &Stamp, patch: &mut Patch) {
    let labels = [
        (INJECTED, "true".to_owned()),
        (PIPELINE, pipeline.name.clone()),
        (PIPELINE_NAMESPACE, pipeline.namespace.clone()),
    ];
    patch.set_all("labels", pod.labels, &labels);
    let stamp = serde_json::to_string(stamp).expect("a stamp holds only strings and lists");
    patch.set_all("annotations", pod.annotations, &[(STATUS, stamp)]);
    if pod.annotation(SKIPPED).is_some() {
        patch.unset("annotations", SKIPPED);
    }
}

#[cfg(test)]
mod tests;
