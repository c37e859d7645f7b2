//! The patch of one pod for one pipeline.

use serde_json::Value;
use veneur_operator_api::TlsMode;

use super::{
    INJECTED, Mode, Patch, SKIPPED, STATUS, Skip, SkipReason, Stamp,
    annotations::Wishes,
    environment, merge,
    pod::{Pod, Spot, name},
    resources,
    settings::Settings,
    sidecar::{self, Own},
};
use crate::{
    labels::{PIPELINE, PIPELINE_NAMESPACE},
    reconcile::validate::Validated,
};

/// Annotation that names volumes which may be lost when a node is removed.
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
/// Annotation of pods that come from a file of a node.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// What the pod gets, and the patch that gives it.
///
/// `authority`: the operator's own for the tiers, PEM; empty where it has none.
pub(super) fn inject(
    pod: &Pod<'_>,
    pipeline: &Validated,
    mut settings: Settings,
    authority: &str,
) -> Result<(Stamp, Patch), Skip> {
    let of_pipeline = settings.clone();
    let mut wishes = Wishes::read(pod, &mut settings)?;
    let revision = sidecar::current_revision(pipeline, &of_pipeline, settings.mode == Mode::EnvOnly)?;
    fits(pod, &settings)?;
    let mut patch = Patch::new();
    let environment = environment::add(pod, &settings, &wishes, &mut patch);
    let mut stamp = Stamp {
        pipeline: format!("{}/{}", pipeline.namespace, pipeline.name),
        revision,
        image: None,
        before: None,
        mode: settings.mode,
        containers: environment.containers,
        kept: environment.kept,
        notes: Vec::new(),
    };
    let before = Before::of(pod, &stamp)?;
    if settings.mode == Mode::EnvOnly {
        if let Before::Stale(spot) = before {
            patch.remove(spot.list, spot.index);
        }
    } else {
        let container = container(pod, pipeline, &settings, &mut wishes, &before, authority)?;
        let image = container.get("image").and_then(Value::as_str);
        stamp.image = image.filter(|image| *image == pipeline.image).map(str::to_owned);
        if let (Before::Ours(_), Some(earlier)) = (&before, Stamp::of(pod)) {
            (stamp.revision, stamp.image) = (earlier.revision, earlier.image);
        }
        place(pod, container, &before, settings.mode, &mut patch);
        let missing = sidecar::volumes(&settings).into_iter().filter(|volume| !pod.has_volume(name(volume)));
        patch.append_all("volumes", pod.volumes, missing.collect());
    }
    stamp.notes = wishes.notes;
    stamp.notes.extend(environment.notes);
    stamp_pod(pod, pipeline, &stamp, &settings, &mut patch);
    Ok((stamp, patch))
}

/// The container of our name that a pod has already.
enum Before {
    Nothing,
    /// Of an earlier look. It stays as it is, whatever the pipeline says meanwhile.
    Ours(Spot),
    /// Of another pipeline or mode: its stamp came with a copied pod, or the wish was changed since.
    Stale(Spot),
    /// The pod's author laid down fields of the sidecar's.
    Authors(Spot),
}

impl Before {
    fn of(pod: &Pod<'_>, now: &Stamp) -> Result<Self, Skip> {
        let spots = pod.sidecars();
        let [spot] = spots.as_slice() else {
            if spots.is_empty() {
                return Ok(Self::Nothing);
            }
            let detail = "the pod has two containers named \"veneur\": rename one, or remove it";
            return Err(SkipReason::AlreadyInjected.because(detail));
        };
        let home = if now.mode == Mode::Classic { "containers" } else { "initContainers" };
        if spot.list == "containers" && home != spot.list && pod.containers.len() == 1 {
            let detail =
                "the pod has no container but one named \"veneur\": rename it, or set veneur.dev/inject to false";
            return Err(SkipReason::AlreadyInjected.because(detail));
        }
        Ok(match Stamp::of(pod) {
            Some(stamp)
                if now.mode != Mode::EnvOnly
                    && stamp.pipeline == now.pipeline
                    && stamp.mode == now.mode
                    && spot.list == home =>
            {
                Self::Ours(*spot)
            }
            Some(stamp) if stamp.mode != Mode::EnvOnly => Self::Stale(*spot),
            _ => Self::Authors(*spot),
        })
    }
}

/// Whether a sidecar can work in this pod at all.
fn fits(pod: &Pod<'_>, settings: &Settings) -> Result<(), Skip> {
    let skip = |reason: SkipReason, detail: String| Err(reason.because(detail));
    if pod.annotation(MIRROR).is_some() {
        return skip(SkipReason::StaticPod, "the pod comes from a file of its node".to_owned());
    }
    if settings.mode == Mode::EnvOnly {
        let hint = "veneur.dev/mode: env-only needs spec.node.enabled in the pipeline";
        return if settings.node.is_some() { Ok(()) } else { skip(SkipReason::NoNodeAgent, hint.to_owned()) };
    }
    if let Some(os) = pod.other_os() {
        return skip(SkipReason::UnsupportedOS, format!("the pod runs on {os}, the sidecar on linux only"));
    }
    if pod.on_host_network() {
        if settings.has_udp() {
            let detail = "the pod uses the node's network, where two sidecars cannot share a port: set \
                          veneur.dev/transport: uds, if its client can send to a Unix socket";
            return skip(SkipReason::HostNetworkPortConflict, detail.to_owned());
        }
        if pod.dns_policy() == "ClusterFirst" {
            let detail = "on the node's network the sidecar finds its proxies only with dnsPolicy: \
                          ClusterFirstWithHostNet in the pod's spec";
            return skip(SkipReason::HostNetworkPortConflict, detail.to_owned());
        }
    } else if let Some((container, port)) = pod.taken(&sidecar::ports(settings)) {
        let hint =
            if port.ends_with("UDP") { ": set veneur.dev/port to another, or veneur.dev/transport: uds" } else { "" };
        let detail = format!("container {container:?} declares port {port}, which the sidecar listens on{hint}");
        return skip(SkipReason::PortInUse, detail);
    }
    if pod.has_own_resources() {
        let detail = "the pod sets spec.resources, which would have to hold the sidecar's too";
        return skip(SkipReason::PodLevelResources, detail.to_owned());
    }
    if settings.mode == Mode::Classic
        && let Some(why) = pod.ends()
    {
        let detail =
            format!("the pod {why}, and a classic sidecar would never let it end: set veneur.dev/mode: native");
        return skip(SkipReason::ClassicWouldBlockJob, detail);
    }
    Ok(())
}

fn container(
    pod: &Pod<'_>,
    pipeline: &Validated,
    settings: &Settings,
    wishes: &mut Wishes,
    before: &Before,
    authority: &str,
) -> Result<Value, Skip> {
    let keep_guaranteed = settings.sidecar.preserve_qos && resources::is_guaranteed(pod);
    let own = Own {
        resources: Some(resources::of(&sidecar::base_resources(pipeline), wishes, keep_guaranteed)),
        tags: tags(pod, settings, wishes),
        log_level: wishes.log_level,
        host_network: pod.on_host_network(),
        root_pod: pod.runs_as_root(),
        grace_seconds: pod.grace_seconds(),
        authority: trusted(pipeline, authority)?,
    };
    let container = sidecar::container(pipeline, settings, &own)?;
    Ok(match before {
        Before::Authors(spot) => merge::over(container, pod.at(*spot)),
        _ => container,
    })
}

/// Authorities that the sidecar is to trust, PEM.
fn trusted(pipeline: &Validated, own: &str) -> Result<String, Skip> {
    match pipeline.tls.mode {
        TlsMode::Disabled => Ok(String::new()),
        TlsMode::CertManager => Ok(pipeline.tls.ca_bundle.clone().unwrap_or_default()),
        TlsMode::SelfSigned if own.is_empty() => {
            let detail = "spec.tls.mode is SelfSigned, and this operator was started without --tiers-secret";
            Err(SkipReason::PipelineNotAccepted.because(detail))
        }
        TlsMode::SelfSigned => Ok(own.to_owned()),
    }
}

/// Tags made of the pod's labels, and those that it asks for itself, which win.
fn tags(pod: &Pod<'_>, settings: &Settings, wishes: &Wishes) -> Vec<(String, String)> {
    let of_labels = settings.from_pod_labels.iter().filter_map(|(label, tag)| {
        let value = pod.label(label).filter(|value| !value.is_empty() && !value.contains(['|', ',', '\n']))?;
        Some((tag.clone(), value.to_owned()))
    });
    let mut tags: Vec<_> = of_labels.filter(|(tag, _)| wishes.tags.iter().all(|(key, _)| key != tag)).collect();
    tags.extend(wishes.tags.iter().cloned());
    tags
}

/// A native sidecar is after the mesh, so that the mesh outlives it and its last send passes through; and before
/// everything else, so that no container of the application sends into the void. A classic one is the last.
fn place(pod: &Pod<'_>, container: Value, before: &Before, mode: Mode, patch: &mut Patch) {
    let (list, present, target) = match mode {
        Mode::Classic => ("containers", Some(pod.containers), None),
        Mode::Native | Mode::EnvOnly => ("initContainers", pod.init_containers, Some(pod.sidecar_position())),
    };
    let stays = match before {
        Before::Nothing => None,
        Before::Ours(spot) => Some(spot.index),
        Before::Stale(spot) | Before::Authors(spot) if spot.list == list => {
            patch.replace(list, spot.index, container.clone());
            Some(spot.index)
        }
        Before::Stale(spot) | Before::Authors(spot) => {
            patch.remove(spot.list, spot.index);
            None
        }
    };
    match (stays, target) {
        (Some(index), Some(target)) if index != target => patch.shift(list, index, target),
        (Some(_), _) => {}
        (None, Some(target)) => patch.insert(list, present, target, container),
        (None, None) => patch.append_all(list, present, vec![container]),
    }
}

fn stamp_pod(pod: &Pod<'_>, pipeline: &Validated, stamp: &Stamp, settings: &Settings, patch: &mut Patch) {
    let labels = [
        (INJECTED, "true".to_owned()),
        (PIPELINE, pipeline.name.clone()),
        (PIPELINE_NAMESPACE, pipeline.namespace.clone()),
    ];
    patch.set_all("labels", pod.labels, &labels);
    let mut annotations = vec![(STATUS, stamp.to_text())];
    if settings.mode != Mode::EnvOnly {
        annotations.push((SAFE_TO_EVICT, safe_to_evict(pod, settings)));
    }
    patch.set_all("annotations", pod.annotations, &annotations);
    if pod.annotation(SKIPPED).is_some() {
        patch.unset("annotations", SKIPPED);
    }
}

/// The author's list with our volumes, each once.
fn safe_to_evict(pod: &Pod<'_>, settings: &Settings) -> String {
    let present = pod.annotation(SAFE_TO_EVICT).unwrap_or_default();
    let mut all = present.to_owned();
    for volume in sidecar::volumes(settings) {
        let ours = name(&volume);
        if !all.split(',').any(|listed| listed.trim() == ours) {
            if !all.is_empty() {
                all.push(',');
            }
            all.push_str(ours);
        }
    }
    all
}
