//! The kubelet's list of its pods, as far as tags are made of it.
//!
//! Law: total. Fields of other versions are ignored, absent ones are empty, and a pod that is no pod costs nobody else.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

/// A pod of this node.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    pub(crate) status: Status,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) owner_references: Option<Vec<Owner>>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Owner {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) controller: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    init_containers: Option<Vec<Container>>,
    containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    #[serde(rename = "initContainerStatuses")]
    init: Option<Vec<ContainerStatus>>,
    #[serde(rename = "containerStatuses")]
    usual: Option<Vec<ContainerStatus>>,
    #[serde(rename = "ephemeralContainerStatuses")]
    ephemeral: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    last_state: Option<LastState>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct LastState {
    terminated: Option<Terminated>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

#[derive(Deserialize)]
struct List {
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Pod(Box<Pod>),
    Other(IgnoredAny),
}

/// Reads the answer to `GET /pods`.
pub(crate) fn parse(answer: &[u8]) -> Result<Vec<Pod>, serde_json::Error> {
    let list: List = serde_json::from_slice(answer)?;
    let pods = list.items.unwrap_or_default().into_iter().filter_map(|item| match item {
        Item::Pod(pod) => Some(*pod),
        Item::Other(IgnoredAny) => None,
    });
    Ok(pods.collect())
}

impl Pod {
    /// All containers of the pod; no two of them have one name.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Container> {
        let Spec { init_containers, containers, ephemeral_containers } = &self.spec;
        [init_containers, containers, ephemeral_containers].into_iter().flatten().flatten()
    }

    /// The status of a container.
    pub(crate) fn status(&self, name: &str) -> Option<&ContainerStatus> {
        let Status { init, usual, ephemeral } = &self.status;
        [init, usual, ephemeral].into_iter().flatten().flatten().find(|status| status.name == name)
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(name).map(String::as_str)
    }
}

impl ContainerStatus {
    /// The id of the container that runs, without the name of its runtime.
    pub(crate) fn id(&self) -> Option<&str> {
        bare(self.container_id.as_ref())
    }

    /// The id of the one before it, whose last samples may still be on their way.
    pub(crate) fn id_before(&self) -> Option<&str> {
        bare(self.last_state.as_ref()?.terminated.as_ref()?.container_id.as_ref())
    }
}

/// `containerd://4f2a…` is `4f2a…`.
fn bare(id: Option<&String>) -> Option<&str> {
    let (_, id) = id?.split_once("://")?;
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pod_that_is_none_costs_nobody_else() {
        let answer = br#"{"kind":"PodList","items":[7,{"metadata":{"name":8}},null,
            {"metadata":{"name":"web-0","labels":null},"spec":{"containers":null},"status":{"new":{"x":[1]}}}]}"#;
        let names: Vec<String> = parse(answer).expect("a list").into_iter().map(|pod| pod.metadata.name).collect();
        assert_eq!(names, ["web-0"]);
        assert!(parse(br#"{"items":null}"#).expect("an empty list").is_empty());
        assert!(parse(b"{}").expect("an empty list").is_empty());
        parse(b"Unauthorized").expect_err("no JSON");
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..20_000) {
            drop(parse(&answer));
            let recorded = include_bytes!("../../tests/kubelet/pods.json");
            let mut mangled = recorded[..cut.min(recorded.len())].to_vec();
            mangled.extend(answer);
            drop(parse(&mangled));
        }
    }
}
