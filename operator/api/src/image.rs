//! The image of all tiers and sidecars.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Image of all tiers.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Registry and name without tag, as `registry.example/veneur`. Default: that of the operator's own image. Sidecars
    /// pull it in their own namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300), regex(pattern = r"^([a-z0-9]+([._:/-]+[a-z0-9]+)*)?$"))]
    pub repository: String,
    /// Digest of the image, `sha256:` and 64 hexadecimal digits. Given, it decides which image runs, and `version` is only
    /// what status shows. Default: none, the image is found by its tag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 71))]
    #[x_kube(validation = Rule::new("self == '' || self.matches('^sha256:[0-9a-f]{64}$')")
        .message("image.digest is sha256: and 64 hexadecimal digits, as a registry prints it"))]
    pub digest: String,
    /// When a node pulls the image: `Always`, `IfNotPresent`, `Never`. Default `IfNotPresent`.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Names of Secrets in the pipeline's namespace with which proxies, globals and node agents pull; at most 8. Sidecars
    /// pull with what their own pod or its `ServiceAccount` names. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub pull_secrets: Vec<String>,
}

/// When a node pulls an image.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "Kubernetes' own words; doc comments on variants would change the schema's shape")]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// The word as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}
