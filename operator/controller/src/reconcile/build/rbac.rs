//! What the proxies may ask of the API server: the members of the ring, nothing else. Globals get no token at all.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

use super::{Validated, metadata};
use crate::labels::{self, tier_name};

pub(super) fn service_account(pipeline: &Validated) -> ServiceAccount {
    ServiceAccount { metadata: proxy_metadata(pipeline), ..ServiceAccount::default() }
}

pub(super) fn role(pipeline: &Validated) -> Role {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Role {
        metadata: proxy_metadata(pipeline),
        rules: Some(vec![PolicyRule {
            api_groups: Some(strings(&["discovery.k8s.io"])),
            resources: Some(strings(&["endpointslices"])),
            verbs: strings(&["get", "list", "watch"]),
            ..PolicyRule::default()
        }]),
    }
}

pub(super) fn role_binding(pipeline: &Validated) -> RoleBinding {
    let name = tier_name(&pipeline.name, labels::Role::Proxy);
    RoleBinding {
        metadata: proxy_metadata(pipeline),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "Role".to_owned(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(pipeline.namespace.clone()),
            ..Subject::default()
        }]),
    }
}

fn proxy_metadata(pipeline: &Validated) -> kube::api::ObjectMeta {
    let role = labels::Role::Proxy;
    metadata(pipeline, tier_name(&pipeline.name, role), Some(role))
}
