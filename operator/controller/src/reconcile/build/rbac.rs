//! What the proxies may ask of the API server: the members of the ring, nothing else. Globals get no token at all; agents
//! of nodes get one only for their kubelet, which an administrator lets them ask.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

use super::{Validated, tier_metadata};
use crate::labels::{self, tier_name};

pub(super) fn service_accounts(pipeline: &Validated) -> Vec<ServiceAccount> {
    let of = |role| ServiceAccount { metadata: tier_metadata(pipeline, role), ..ServiceAccount::default() };
    let proxy = pipeline.proxy.as_ref().map(|_| of(labels::Role::Proxy));
    let node = pipeline.node.as_ref().map(|_| of(labels::Role::Node));
    proxy.into_iter().chain(node).collect()
}

/// Whether proxies look for globals.
fn discovers(pipeline: &Validated) -> bool {
    pipeline.proxy.is_some() && pipeline.global.is_some()
}

pub(super) fn role(pipeline: &Validated) -> Option<Role> {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    discovers(pipeline).then(|| Role {
        metadata: tier_metadata(pipeline, labels::Role::Proxy),
        rules: Some(vec![PolicyRule {
            api_groups: Some(strings(&["discovery.k8s.io"])),
            resources: Some(strings(&["endpointslices"])),
            verbs: strings(&["get", "list", "watch"]),
            ..PolicyRule::default()
        }]),
    })
}

pub(super) fn role_binding(pipeline: &Validated) -> Option<RoleBinding> {
    let name = tier_name(&pipeline.name, labels::Role::Proxy);
    discovers(pipeline).then(|| RoleBinding {
        metadata: tier_metadata(pipeline, labels::Role::Proxy),
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
    })
}
