//! What the pods of every tier have in common.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
        Lifecycle, LifecycleHandler, LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec,
        PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, SleepAction, Volume, VolumeMount,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::api::ObjectMeta;

use super::{Validated, config_map::file, configuration::TLS_FOLDER};
use crate::{
    injection::INJECT,
    labels::{self, ADMIN_PORT, Role, config_name, tls_name},
    reconcile::validate::ValidTier,
};

/// Annotation of a pod template: hash of what running pods cannot take of their configuration.
const CONFIG_HASH: &str = "veneur.dev/config-hash";
/// Where the `ConfigMap` is mounted.
const CONFIG_FOLDER: &str = "/etc/veneur";
/// User of the image; numeric, so that the kubelet can tell it is not root.
const USER: i64 = 65_532;

/// Pods of one tier.
pub(super) struct Pods<'a> {
    pub(super) role: Role,
    pub(super) settings: &'a ValidTier,
    /// Hash of what a running pod cannot take of its configuration.
    pub(super) config_hash: String,
    /// The word on the data plane's command line.
    pub(super) command: &'a str,
    pub(super) env: Vec<EnvVar>,
    /// Beside the admin port.
    pub(super) ports: Vec<ContainerPort>,
    /// Whether it shows a certificate, or only checks those of others.
    pub(super) shows_certificate: bool,
    /// Identity; everything else of the pod is filled in here.
    pub(super) pod: PodSpec,
}

impl Pods<'_> {
    pub(super) fn template(self, pipeline: &Validated) -> PodTemplateSpec {
        let placement = &self.settings.placement;
        let mut labels = placement.pod_labels.clone();
        labels.extend(labels::labels(&pipeline.name, Some(self.role)));
        let mut annotations = placement.pod_annotations.clone();
        annotations.insert(CONFIG_HASH.to_owned(), self.config_hash.clone());
        // A tier is no application: in a namespace whose pods are all meant it would be skipped, merged with a sidecar, or
        // evicted, and with `strict` it could not start while the operator is away.
        annotations.insert(INJECT.to_owned(), "false".to_owned());
        let secrets = pipeline.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect();
        let mut volumes = vec![config_volume(pipeline)];
        volumes.extend(pipeline.is_encrypted().then(|| tls_volume(pipeline, self.shows_certificate)));
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                containers: vec![self.container(pipeline)],
                volumes: Some(volumes),
                image_pull_secrets: non_empty(secrets),
                security_context: Some(pod_security()),
                termination_grace_period_seconds: Some(placement.drain.termination_grace_period_seconds.into()),
                node_selector: (!placement.node_selector.is_empty()).then(|| placement.node_selector.clone()),
                tolerations: non_empty(placement.tolerations.clone()),
                affinity: placement.affinity.clone(),
                priority_class_name: Some(placement.priority_class_name.clone()).filter(|name| !name.is_empty()),
                ..self.pod
            }),
        }
    }

    fn container(&self, pipeline: &Validated) -> Container {
        let mut mounts = vec![mount("config", CONFIG_FOLDER)];
        mounts.extend(pipeline.is_encrypted().then(|| mount("tls", TLS_FOLDER)));
        let mut ports = self.ports.clone();
        ports.push(port("http", ADMIN_PORT, "TCP"));
        let resources = &self.settings.resources;
        Container {
            name: "veneur".to_owned(),
            image: Some(pipeline.image.clone()),
            image_pull_policy: Some(pipeline.pull_policy.as_str().to_owned()),
            args: Some(vec![self.command.to_owned(), "-f".to_owned(), format!("{CONFIG_FOLDER}/{}", file(self.role))]),
            env: non_empty(self.env.clone()),
            ports: Some(ports),
            readiness_probe: Some(Probe { period_seconds: Some(2), ..probe("/ready") }),
            liveness_probe: Some(Probe { period_seconds: Some(10), timeout_seconds: Some(5), ..probe("/healthcheck") }),
            lifecycle: pre_stop(self.settings.placement.drain.pre_stop_seconds),
            resources: (*resources != <_>::default()).then(|| resources.clone()),
            security_context: Some(container_security()),
            // What a crashing process said last becomes its message in the pipeline's status.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            volume_mounts: Some(mounts),
            ..Container::default()
        }
    }
}

/// A port of a container.
pub(super) fn port(name: &str, port: u16, protocol: &str) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some(protocol.to_owned()),
        ..ContainerPort::default()
    }
}

/// A variable that is filled from a field of the pod.
pub(super) fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), ..Default::default() }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// A list, or nothing.
pub(super) fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn pre_stop(seconds: i32) -> Option<Lifecycle> {
    // Older API servers refuse a sleep of none.
    let sleep = (seconds > 0).then(|| SleepAction { seconds: seconds.into() })?;
    let pre_stop = LifecycleHandler { sleep: Some(sleep), ..LifecycleHandler::default() };
    Some(Lifecycle { pre_stop: Some(pre_stop), ..Lifecycle::default() })
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), read_only: Some(true), ..VolumeMount::default() }
}

fn config_volume(pipeline: &Validated) -> Volume {
    Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: config_name(&pipeline.name), ..Default::default() }),
        ..Volume::default()
    }
}

/// The certificate and its key for who shows one, else the authority's alone.
fn tls_volume(pipeline: &Validated, shows_certificate: bool) -> Volume {
    let authority = KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None };
    Volume {
        name: "tls".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(tls_name(&pipeline.name)),
            items: (!shows_certificate).then(|| vec![authority]),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    }
}

/// Sorted, for objects that are compared byte for byte.
pub(super) fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
