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

mod admitted;
mod annotations;
mod choice;
mod environment;
mod inject;
mod merge;
mod patch;
mod pod;
mod quantity;
mod resources;
mod settings;
mod sidecar;
mod stamp;

use serde_json::Value;
use veneur_operator_api::VeneurPipeline;

use crate::{
    context::Defaults,
    reconcile::validate::{Validated, validate},
};
pub use choice::{NAMESPACE_LABEL, NAMESPACE_PIPELINE, Namespace};
pub(crate) use choice::{Wish, choose, cluster_default, id, path, resolve};
pub(crate) use inject::MIRROR;
pub use patch::Patch;
use pod::Pod;
pub use settings::Mode;
use settings::Settings;
pub(crate) use sidecar::NAME as SIDECAR;
pub use stamp::{Former, Stamp};

/// Annotation or label that asks: `true`, `false`, NAME or NAMESPACE/NAME.
pub const INJECT: &str = "veneur.dev/inject";
/// Annotation: what the pod got, as JSON.
pub const STATUS: &str = "veneur.dev/status";
/// Annotation: why the pod got nothing.
pub const SKIPPED: &str = "veneur.dev/skipped";
/// Label: the pod takes part.
pub const INJECTED: &str = "veneur.dev/injected";

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It did not ask, or opted out.
    Untouched,
    /// It takes part; on a second look the patch may be empty.
    Injected {
        /// What it got.
        stamp: Stamp,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// It asks for whatever pipeline is meant for its namespace, and none is.
    NoPipeline,
    /// It asks for the pipeline of its namespace, which has several.
    AmbiguousPipeline,
    /// The pipeline that it names does not exist.
    PipelineNotFound,
    /// The pipeline does not admit the pod's namespace.
    NotAllowed,
    /// The pipeline exists, but its spec is not accepted.
    PipelineNotAccepted,
    /// What it asks with cannot be read.
    InvalidAnnotation,
    /// It has a container named `veneur` that cannot be merged with ours.
    AlreadyInjected,
    /// It uses the node's network, where two sidecars would share one port.
    HostNetworkPortConflict,
    /// One of its containers declares a port of the sidecar.
    PortInUse,
    /// It bounds its containers' resources together, and its author did not count the sidecar's.
    PodLevelResources,
    /// It does not run on Linux.
    UnsupportedOS,
    /// It is to end, and a sidecar that is an ordinary container would keep it running.
    ClassicWouldBlockJob,
    /// It is to send to its node's agent, and the pipeline has none.
    NoNodeAgent,
    /// It comes from a file of a node; no patch reaches it.
    StaticPod,
    /// The sidecar's configuration does not fit into the pod.
    ConfigTooLarge,
    /// A mistake of ours.
    InternalError,
}

impl SkipReason {
    /// Every one.
    pub const ALL: [Self; 16] = [
        Self::NoPipeline,
        Self::AmbiguousPipeline,
        Self::PipelineNotFound,
        Self::NotAllowed,
        Self::PipelineNotAccepted,
        Self::InvalidAnnotation,
        Self::AlreadyInjected,
        Self::HostNetworkPortConflict,
        Self::PortInUse,
        Self::PodLevelResources,
        Self::UnsupportedOS,
        Self::ClassicWouldBlockJob,
        Self::NoNodeAgent,
        Self::StaticPod,
        Self::ConfigTooLarge,
        Self::InternalError,
    ];

    fn because(self, detail: impl Into<String>) -> Skip {
        Skip { reason: self, detail: detail.into() }
    }
}

/// Decides on a pod that is created in `namespace`.
///
/// A value that is no pod is left alone: the API server refuses it itself, with the better message.
/// `authority`: the operator's own for the tiers, PEM; empty where it has none.
pub fn decide(
    pod: &Value,
    namespace: &Namespace,
    pipelines: &[&VeneurPipeline],
    defaults: &Defaults,
    authority: &str,
) -> Outcome {
    let Ok(pod) = Pod::read(pod) else {
        return Outcome::Untouched;
    };
    let Some(wish) = Wish::of(pod.annotation(INJECT), pod.label(INJECT), namespace) else {
        return Outcome::Untouched;
    };
    let injected = choice::choose(&wish, namespace, pipelines)
        .and_then(|pipeline| accepted(pipeline, defaults).map(|validated| (validated, Settings::of(pipeline))))
        .and_then(|(validated, settings)| inject::inject(&pod, &validated, settings, authority));
    match injected {
        Ok((stamp, patch)) => Outcome::Injected { stamp, patch },
        Err(skip) => skipped(&pod, skip),
    }
}

/// The outcome for a pod on which deciding failed by a mistake of ours.
pub fn failed(pod: &Value) -> Outcome {
    let skip = SkipReason::InternalError.because("the operator's log has more; please report it");
    Pod::read(pod).map_or(Outcome::Untouched, |pod| skipped(&pod, skip))
}

fn skipped(pod: &Pod<'_>, skip: Skip) -> Outcome {
    let mut patch = Patch::new();
    patch.set_all("annotations", pod.annotations, &[(SKIPPED, skip.to_string())]);
    Outcome::Skipped { skip, patch }
}

/// The image that all globals and proxies of a pipeline were last seen to run in full; none where it has neither, or where
/// they never did.
pub(crate) fn rolled_out(pipeline: &VeneurPipeline) -> Option<&str> {
    let has_tiers = pipeline.spec.global.enabled || pipeline.spec.proxy.enabled;
    pipeline.status.as_ref().filter(|_| has_tiers)?.image.as_deref()
}

/// What a pod of a pipeline would be injected with now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Revision of pods with a sidecar.
    pub revision: String,
    /// Revision of those without, which send to their node's agent.
    pub env_only_revision: String,
    /// Image of the sidecar.
    pub image: String,
}

/// What a pod of this pipeline would be injected with now.
pub fn current(pipeline: &VeneurPipeline, defaults: &Defaults) -> Result<Current, Skip> {
    let (validated, settings) = (accepted(pipeline, defaults)?, Settings::of(pipeline));
    let revision = |env_only| sidecar::current_revision(&validated, &settings, env_only);
    Ok(Current { revision: revision(false)?, env_only_revision: revision(true)?, image: validated.image.clone() })
}

/// The pipeline as its pods get it: not the spec's image while the tiers still run another, or never will, because no node
/// can pull it. A sidecar may be older than what it sends to, never newer.
fn accepted(pipeline: &VeneurPipeline, defaults: &Defaults) -> Result<Validated, Skip> {
    let mut validated = validate(pipeline, defaults).map_err(|invalid| {
        let (namespace, name) = id(pipeline);
        SkipReason::PipelineNotAccepted.because(format!("{namespace}/{name}: {invalid}"))
    })?;
    if let Some(image) = rolled_out(pipeline) {
        image.clone_into(&mut validated.image);
    }
    Ok(validated)
}

#[cfg(test)]
mod tests;
