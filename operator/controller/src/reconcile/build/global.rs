//! The globals' Deployment.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, PodSpec, SecretKeySelector},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Validated, tier::Tier};
use crate::{labels::Role, reconcile::validate::ValidSink};

pub(super) fn deployment(pipeline: &Validated, configuration: &str) -> Deployment {
    let mut env = vec![hostname()];
    env.extend(pipeline.sinks.iter().filter_map(api_key));
    Tier {
        role: Role::Global,
        settings: &pipeline.global,
        configuration,
        // All new members at once: every key moves exactly once. One at a time moves about 1.8 times as many.
        max_surge: IntOrString::String("100%".to_owned()),
        env,
        pod: PodSpec { automount_service_account_token: Some(false), ..PodSpec::default() },
    }
    .deployment(pipeline)
}

fn hostname() -> EnvVar {
    EnvVar {
        name: "VENEUR_HOSTNAME".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: "metadata.name".to_owned(), ..Default::default() }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
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
