//! What an injected pod says of itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Mode, STATUS, pod::Pod};

/// What a pod got, in its annotation [`STATUS`]. Without a time, so that deciding twice gives the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The pipeline, `NAMESPACE/NAME`.
    pub pipeline: String,
    /// Hash of what sidecars of the pipeline were when the pod was made, but for their image and the pod's own wishes.
    pub revision: String,
    /// Image of the sidecar, which may be exchanged while the pod runs; absent where the pod's author chose it, or where
    /// there is no sidecar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What ran before that image, until it runs or has been taken back: whoever leads by then does either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Former>,
    /// How the pod takes part.
    pub mode: Mode,
    /// Containers that were told where to send.
    pub containers: Vec<String>,
    /// Variables that some container already had, and that kept others from being added.
    pub kept: BTreeSet<String>,
    /// What was not heeded, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a sidecar was before its image was exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its image.
    pub image: String,
    /// The container that ran it, as the kubelet names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

impl Stamp {
    /// Reads the annotation; `None` where it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn of(pod: &Pod<'_>) -> Option<Self> {
        pod.annotation(STATUS).and_then(Self::parse)
    }

    /// The annotation's text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a stamp holds only texts and lists")
    }
}
