//! The globals' Deployment.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{EnvVar, EnvVarSource, PodSpec, SecretKeySelector},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use veneur_operator_api::RolloutStrategy;

use super::{
    Validated,
    config_map::restart_hash,
    configuration,
    pod::{Pods, from_field, port},
    tier::{self, Replacement},
};
use crate::{
    labels::{IMPORT_PORT, IMPORT_PORT_NAME, Role},
    reconcile::validate::ValidSink,
};

pub(super) fn deployment(pipeline: &Validated) -> Option<Deployment> {
    let global = pipeline.global.as_ref()?;
    let publishes = pipeline.forward_to.is_none();
    let mut env = vec![from_field("VENEUR_HOSTNAME", "metadata.name")];
    env.extend(pipeline.sinks.iter().filter(|_| publishes).filter_map(api_key));
    let pods = Pods {
        role: Role::Global,
        settings: &global.tier,
        config_hash: restart_hash(&configuration::global(pipeline, global)),
        command: "global",
        env,
        ports: vec![port(IMPORT_PORT_NAME, IMPORT_PORT, "TCP")],
        shows_certificate: true,
        pod: PodSpec { automount_service_account_token: Some(false), ..PodSpec::default() },
    };
    let replacement = match (&pipeline.proxy, global.rollout) {
        // Two at once would each publish a part of every series. Sidecars hold what they have until the new one is there.
        (None, _) => Replacement::Recreate,
        // All new members at once: every key moves exactly once. One at a time moves about 1.8 times as many.
        (Some(_), RolloutStrategy::Surge) => Replacement::Surge(IntOrString::String("100%".to_owned())),
        (Some(_), RolloutStrategy::Rolling) => Replacement::Surge(IntOrString::Int(1)),
    };
    Some(tier::deployment(pipeline, pods, replacement))
}

fn api_key(sink: &ValidSink) -> Option<EnvVar> {
    let secret = sink.api_key.as_ref()?;
    Some(EnvVar {
        name: sink.api_key_variable(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.name.clone(),
                key: secret.key.clone(),
                ..SecretKeySelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    })
}
