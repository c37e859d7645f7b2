//! What the Deployments of both tiers have in common.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, HTTPGetAction, PodSecurityContext,
            PodSpec, PodTemplateSpec, Probe, SeccompProfile, SecurityContext, TopologySpreadConstraint, Volume,
            VolumeMount,
        },
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::api::ObjectMeta;

use super::{Validated, config_map::file, metadata};
use crate::{
    labels::{self, ADMIN_PORT, IMPORT_PORT, IMPORT_PORT_NAME, Role, config_name, tier_name},
    reconcile::{revision, validate::ValidTier},
};

/// Annotation of a pod template: hash of the tier's configuration, so that a change of it replaces the pods.
const CONFIG_HASH: &str = "veneur.dev/config-hash";
/// Where the `ConfigMap` is mounted.
const CONFIG_FOLDER: &str = "/etc/veneur";
/// User of the image; numeric, so that the kubelet can tell it is not root.
const USER: i64 = 65_532;
/// Long enough for the interval under way at the default of 10 s, its lateness and a sink's retries.
const GRACE_SECONDS: i64 = 40;

/// What differs between the tiers.
pub(super) struct Tier<'a> {
    pub(super) role: Role,
    pub(super) settings: &'a ValidTier,
    pub(super) configuration: &'a str,
    pub(super) max_surge: IntOrString,
    pub(super) env: Vec<EnvVar>,
    /// Identity; everything else of the pod is filled in here.
    pub(super) pod: PodSpec,
}

impl Tier<'_> {
    pub(super) fn deployment(self, pipeline: &Validated) -> Deployment {
        let selector = LabelSelector {
            match_labels: Some(labels::selector(&pipeline.name, self.role)),
            ..LabelSelector::default()
        };
        Deployment {
            metadata: metadata(pipeline, tier_name(&pipeline.name, self.role), Some(self.role)),
            spec: Some(DeploymentSpec {
                replicas: Some(self.settings.replicas),
                min_ready_seconds: Some(2),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_unavailable: Some(IntOrString::Int(0)),
                        max_surge: Some(self.max_surge.clone()),
                    }),
                }),
                selector: selector.clone(),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels::labels(&pipeline.name, Some(self.role))),
                        annotations: Some(BTreeMap::from([(CONFIG_HASH.to_owned(), revision::of(self.configuration))])),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(PodSpec {
                        containers: vec![self.container(pipeline)],
                        volumes: Some(vec![config_volume(pipeline)]),
                        security_context: Some(pod_security()),
                        termination_grace_period_seconds: Some(GRACE_SECONDS),
                        topology_spread_constraints: Some(spread(&selector)),
                        ..self.pod
                    }),
                },
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        }
    }

    fn container(&self, pipeline: &Validated) -> Container {
        let port = |name: &str, port: u16| ContainerPort {
            name: Some(name.to_owned()),
            container_port: i32::from(port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        };
        Container {
            name: "veneur".to_owned(),
            image: Some(pipeline.image.clone()),
            image_pull_policy: Some(pipeline.pull_policy.as_str().to_owned()),
            args: Some(vec![
                self.role.as_str().to_owned(),
                "-f".to_owned(),
                format!("{CONFIG_FOLDER}/{}", file(self.role)),
            ]),
            env: (!self.env.is_empty()).then(|| self.env.clone()),
            ports: Some(vec![port(IMPORT_PORT_NAME, IMPORT_PORT), port("http", ADMIN_PORT)]),
            readiness_probe: Some(Probe { period_seconds: Some(2), ..probe("/ready") }),
            liveness_probe: Some(Probe { period_seconds: Some(10), timeout_seconds: Some(5), ..probe("/healthcheck") }),
            resources: (self.settings.resources != <_>::default()).then(|| self.settings.resources.clone()),
            security_context: Some(container_security()),
            // What a crashing process said last becomes its message in the pipeline's status.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            volume_mounts: Some(vec![VolumeMount {
                name: "config".to_owned(),
                mount_path: CONFIG_FOLDER.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]),
            ..Container::default()
        }
    }
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

fn config_volume(pipeline: &Validated) -> Volume {
    Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource { name: config_name(&pipeline.name), ..Default::default() }),
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

/// Over zones and nodes where that is possible; a full cluster still gets its pods.
fn spread(selector: &LabelSelector) -> Vec<TopologySpreadConstraint> {
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(selector.clone()),
            ..TopologySpreadConstraint::default()
        })
        .to_vec()
}
