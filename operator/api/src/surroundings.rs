//! What the pipeline's surroundings see of it: certificates, network, monitoring.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::yes;

/// Encryption between sidecars, proxies and globals.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.mode == 'CertManager') == has(self.issuerRef)")
        .message("tls.issuerRef is required when tls.mode is CertManager, and has no meaning with another mode"),
    validation = Rule::new("(self.mode == 'CertManager') == has(self.caBundle)")
        .message("tls.caBundle is required when tls.mode is CertManager, and has no meaning with another mode: sidecars check proxies against it")
)]
pub struct Tls {
    /// `Disabled`: plain text, as older Veneurs speak it. `SelfSigned`: the operator makes and renews the certificates.
    /// `CertManager`: cert-manager does, by `issuerRef`. Proxies and globals show each other certificates; sidecars hold
    /// none, and check that of the proxies. The certificate is in the Secret `NAME-tls`; renewals restart nothing. Default
    /// `Disabled`.
    #[serde(default)]
    pub mode: TlsMode,
    /// The issuer, for `mode: CertManager`. It must fill in the Secret's `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// Certificates of the issuer's authority, PEM, at most 4096 characters, for `mode: CertManager`. Sidecars get it, as
    /// they hold no Secret and the operator reads none. While an authority is replaced it holds both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN CERTIFICATE-----')")
        .message("tls.caBundle holds certificates in PEM, -----BEGIN CERTIFICATE----- and what follows"))]
    pub ca_bundle: Option<String>,
}

/// Who makes certificates.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum TlsMode {
    #[default]
    Disabled,
    SelfSigned,
    CertManager,
}

/// An issuer of cert-manager.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `Issuer` (of the pipeline's namespace) or `ClusterIssuer`, or an external issuer's kind. Default `Issuer`.
    #[serde(default = "IssuerRef::default_kind")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// API group of that kind. Default `cert-manager.io`.
    #[serde(default = "IssuerRef::default_group")]
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
}

impl IssuerRef {
    fn default_kind() -> String {
        "Issuer".to_owned()
    }

    fn default_group() -> String {
        "cert-manager.io".to_owned()
    }
}

/// Who may speak to the tiers, and to whom they may speak. Heeded only by networks that enforce `NetworkPolicies`.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Whether each tier has a `NetworkPolicy`. Default true: proxies import from every pod; globals from proxies alone, if
    /// there are any; every tier may ask for names; proxies may speak to globals and to the API server, globals to proxies
    /// and to the ports of their sinks. Admin ports stay open, for probes, the operator and Prometheus.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Where the tiers may speak to besides; at most 16. Default: nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub extra_egress: Vec<ExtraEgress>,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: true, extra_egress: Vec::new() }
    }
}

/// Addresses that the tiers may speak to.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtraEgress {
    /// A range of addresses, as `10.0.0.0/8`.
    #[schemars(length(min = 1, max = 43))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-fA-F:.]+/[0-9]{1,3}$')")
        .message("networkPolicy.extraEgress[].cidr is a range of addresses, as 10.0.0.0/8"))]
    pub cidr: String,
    /// TCP ports; at most 16. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 1, max = 65535)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ports: Vec<i32>,
}

/// How Prometheus finds the tiers.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// `Auto`: a `PodMonitor` for all tiers, if the cluster has Prometheus Operator's definition of it. `Disabled`: none.
    /// Default `Auto`. What is scraped is each pod's `/metrics` on port 8127.
    #[serde(default)]
    pub pod_monitor: PodMonitor,
    /// Labels of the `PodMonitor`, by which Prometheus picks it up, as `{release: prometheus}`; at most 16. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub labels: BTreeMap<String, String>,
}

/// Whether there is a `PodMonitor`.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum PodMonitor {
    #[default]
    Auto,
    Disabled,
}
