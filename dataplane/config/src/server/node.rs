//! Node mode: one instance for all pods of a node.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Every, Invalid,
    key::{Field, Report, Shape, leaf, section},
    listen::is_host_port,
};

section! {
    /// Node mode: samples get tags of the pod that sent them, by what the kubelet says of its pods.
    #[derive(Eq)]
    pub struct Node {
        /// The kubelet, `https://HOST:10250`, or `http://HOST:10255` where it has a read-only port. Empty: no node mode,
        /// and what samples say of their origin is ignored.
        fixed kubelet_url: String = String::new(),
        /// File with the authority that signed the kubelet's certificate, PEM.
        fixed kubelet_certificate_authority: String = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt".to_owned(),
        /// Talk to whoever answers, without checking its certificate. Many kubelets sign their own; but who can take the
        /// node's address then gets the token.
        fixed kubelet_insecure: bool = false,
        /// File with the token that the kubelet is shown, read anew for each request; its account must be allowed to
        /// `get` `nodes/pods` (Kubernetes 1.33 and later) or `nodes/proxy`. Empty: none, as over `http://`.
        fixed token_file: String = "/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned(),
        /// Shortest time between two requests. There is one when an unknown pod has sent, and one a minute.
        fixed refresh: Every = Every::seconds(5),
        /// Which tags a sample gets that does not say so itself by `card:`: `none`, `low` (namespace, workload, container,
        /// image), `orchestrator` (and pod), `high` (and container id).
        fixed cardinality: TagCardinality = TagCardinality::Low,
        /// Labels of pods that become tags, of `low`: `LABEL`, or `LABEL=TAG` for another name.
        fixed labels_as_tags: Vec<String> = Vec::new(),
        /// Where the node's cgroups are mounted, for samples that name their container by inode (`c:in-…`). Empty:
        /// `/host/sys/fs/cgroup` if that is there, else `/sys/fs/cgroup`.
        fixed cgroup_root: String = String::new(),
    }
}

/// Which tags a sample gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagCardinality {
    /// None.
    None,
    /// What few values have: namespace, workload, container, image.
    #[default]
    Low,
    /// And the pod.
    Orchestrator,
    /// And the container's id.
    High,
}

impl Field for TagCardinality {
    const SHAPE: Shape = Shape::Text;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        leaf(value, path, report, "one of none, low, orchestrator, high")
    }
}

impl Node {
    /// Whether this instance serves a node.
    pub fn is_on(&self) -> bool {
        !self.kubelet_url.is_empty()
    }

    /// Labels and the names of their tags.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels_as_tags.iter().map(|text| text.split_once('=').unwrap_or((text, text)))
    }

    pub(super) fn check(&self, problems: &mut Vec<Invalid>) {
        let mut wrong = |key: String, problem: String| problems.push(Invalid::new(format!("node.{key}"), problem));
        let host = ["https://", "http://"].iter().find_map(|scheme| self.kubelet_url.strip_prefix(scheme));
        let host = host.map(|host| host.strip_suffix('/').unwrap_or(host));
        if self.is_on() && !host.is_some_and(|host| is_host_port(host) && !host.starts_with(':')) {
            wrong("kubelet_url".into(), format!("{:?} must look like https://10.0.0.7:10250", self.kubelet_url));
        }
        if self.kubelet_url.starts_with("https://")
            && !self.kubelet_insecure
            && self.kubelet_certificate_authority.is_empty()
        {
            let problem = "is empty: name the file of the kubelet's authority, or set kubelet_insecure";
            wrong("kubelet_certificate_authority".into(), problem.into());
        }
        if self.refresh < Every::seconds(1) {
            wrong("refresh".into(), format!("{:?} would burden the kubelet: at least 1s", self.refresh.0));
        }
        for (index, (label, tag)) in self.labels().enumerate() {
            if label.is_empty() || tag.is_empty() || tag.contains([',', '|', '=', ':', '\n']) {
                let problem = format!("{:?} must look like LABEL or LABEL=TAG", self.labels_as_tags[index]);
                wrong(format!("labels_as_tags[{index}]"), problem);
            }
        }
    }
}
