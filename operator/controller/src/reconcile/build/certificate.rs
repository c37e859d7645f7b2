//! cert-manager's order for the tiers' certificate.
//!
//! Whoever makes it, the operator or cert-manager, it is in the Secret [`tls_name`], with `tls.crt`, `tls.key` and `ca.crt`,
//! for the [`names`] of both tiers' Services. Members are dialled by the addresses of their pods; the name that proxies check there is
//! the globals' Service, `NAME-global.NAMESPACE.svc`.

use kube::api::DynamicObject;
use serde_json::json;
use veneur_operator_api::TlsMode;

use super::{Validated, foreign, metadata};
use crate::labels::{Role, tier_name, tls_name};

pub(super) fn certificate(pipeline: &Validated) -> Option<DynamicObject> {
    let issuer = pipeline.tls.issuer_ref.as_ref().filter(|_| pipeline.tls.mode == TlsMode::CertManager)?;
    let name = tls_name(&pipeline.name);
    let spec = json!({
        "secretName": name,
        "dnsNames": names(&pipeline.name, &pipeline.namespace),
        // Proxies and globals show it to each other.
        "usages": ["server auth", "client auth"],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "issuerRef": {"name": issuer.name, "kind": issuer.kind, "group": issuer.group},
    });
    Some(foreign("cert-manager.io/v1", "Certificate", metadata(pipeline, name, None), &spec))
}

/// Every name of both tiers' Services.
pub fn names(pipeline: &str, namespace: &str) -> Vec<String> {
    [Role::Proxy, Role::Global]
        .into_iter()
        .flat_map(|role| {
            let name = tier_name(pipeline, role);
            let host = format!("{name}.{namespace}");
            [name, format!("{host}.svc"), format!("{host}.svc.cluster.local"), host]
        })
        .collect()
}
