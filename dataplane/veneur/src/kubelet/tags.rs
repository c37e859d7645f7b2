//! The tags of a pod and of its containers, by Datadog's names.

use veneur_dogstatsd::Cardinality;
use veneur_metric::tag_key;

use super::pods::{Container, Pod};

/// Labels that become tags without being asked for.
const LABELS: [(&str, &str); 9] = [
    ("app.kubernetes.io/name", "kube_app_name"),
    ("app.kubernetes.io/instance", "kube_app_instance"),
    ("app.kubernetes.io/version", "kube_app_version"),
    ("app.kubernetes.io/component", "kube_app_component"),
    ("app.kubernetes.io/part-of", "kube_app_part_of"),
    ("app.kubernetes.io/managed-by", "kube_app_managed_by"),
    ("tags.datadoghq.com/env", "env"),
    ("tags.datadoghq.com/service", "service"),
    ("tags.datadoghq.com/version", "version"),
];

/// The suffix that a `CronJob` gives its Jobs is a number of at least so many digits: the minutes since 1970.
const CRON_DIGITS: usize = 8;

/// Tags of one sender, by how many senders share them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sender {
    low: Vec<String>,
    orchestrator: Vec<String>,
    high: Vec<String>,
}

impl Sender {
    /// The tags of a cardinality, those of lower ones included.
    pub(crate) fn up_to(&self, cardinality: Cardinality) -> impl Iterator<Item = &str> {
        let levels = [
            (Cardinality::Low, &self.low),
            (Cardinality::Orchestrator, &self.orchestrator),
            (Cardinality::High, &self.high),
        ];
        let wanted = levels.into_iter().filter(move |(level, _)| *level <= cardinality);
        wanted.flat_map(|(_, tags)| tags).map(String::as_str)
    }

    /// What all containers of a pod have; `labels` are pairs of a label and its tag.
    pub(crate) fn of_pod(pod: &Pod, labels: &[(String, String)]) -> Self {
        let mut sender = Self::default();
        let metadata = &pod.metadata;
        add(&mut sender.low, "kube_namespace", &metadata.namespace);
        add(&mut sender.orchestrator, "pod_name", &metadata.name);
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        if let Some(owner) = owners.iter().find(|owner| owner.controller).or(owners.first()) {
            add(&mut sender.low, "kube_ownerref_kind", &owner.kind.to_lowercase());
            add(&mut sender.orchestrator, "kube_ownerref_name", &owner.name);
            sender.workload(&owner.kind, &owner.name, pod.label("pod-template-hash"));
        }
        let asked = labels.iter().map(|(label, tag)| (label.as_str(), tag.as_str()));
        for (label, tag) in LABELS.into_iter().chain(asked) {
            add(&mut sender.low, tag, pod.label(label).unwrap_or_default());
        }
        sender
    }

    /// And what one of its containers has.
    pub(crate) fn container(mut self, pod: &Pod, container: &Container, id: Option<&str>) -> Self {
        let Container { name, image } = container;
        for tag in ["env", "service", "version"] {
            if let Some(value) = pod.label(&format!("tags.datadoghq.com/{name}.{tag}")) {
                self.low.retain(|own| tag_key(own) != tag);
                add(&mut self.low, tag, value);
            }
        }
        add(&mut self.low, "kube_container_name", name);
        let (image, tag) = split_image(image);
        add(&mut self.low, "image_name", image);
        add(&mut self.low, "short_image", image.rsplit('/').next().unwrap_or_default());
        add(&mut self.low, "image_tag", tag);
        if let Some(id) = id {
            add(&mut self.high, "container_id", id);
        }
        add(&mut self.high, "display_container_name", &format!("{name}_{}", pod.metadata.name));
        self
    }

    fn workload(&mut self, kind: &str, name: &str, template_hash: Option<&str>) {
        match kind {
            "ReplicaSet" => {
                add(&mut self.low, "kube_replica_set", name);
                // What a Deployment names its ReplicaSets.
                let deployment = template_hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
                add(&mut self.low, "kube_deployment", deployment.unwrap_or_default());
            }
            "Job" => {
                let cron_job = name.rsplit_once('-').filter(|(_, minutes)| {
                    minutes.len() >= CRON_DIGITS && minutes.bytes().all(|byte| byte.is_ascii_digit())
                });
                match cron_job {
                    Some((cron_job, _)) => {
                        add(&mut self.low, "kube_cronjob", cron_job);
                        add(&mut self.orchestrator, "kube_job", name);
                    }
                    None => add(&mut self.low, "kube_job", name),
                }
            }
            "Deployment" => add(&mut self.low, "kube_deployment", name),
            "StatefulSet" => add(&mut self.low, "kube_stateful_set", name),
            "DaemonSet" => add(&mut self.low, "kube_daemon_set", name),
            "ReplicationController" => add(&mut self.low, "kube_replication_controller", name),
            _ => {}
        }
    }
}

/// Adds a tag with a value; an empty one says nothing. What separates tags and sections cannot be in one.
fn add(tags: &mut Vec<String>, tag: &str, value: &str) {
    if !value.is_empty() {
        let value = value.replace(|letter: char| matches!(letter, ',' | '|') || letter.is_control(), "_");
        tags.push(format!("{tag}:{value}"));
    }
}

/// `registry:5000/shop/web:1.4@sha256:…` is `registry:5000/shop/web` and `1.4`.
fn split_image(image: &str) -> (&str, &str) {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, ""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use veneur_metric::Tags;

    use super::{super::pods, *};

    #[test]
    fn an_image_is_a_name_and_a_tag() {
        assert_eq!(split_image("registry:5000/shop/web:1.4@sha256:77"), ("registry:5000/shop/web", "1.4"));
        assert_eq!(split_image("registry:5000/shop/web"), ("registry:5000/shop/web", ""));
        assert_eq!(split_image("web@sha256:77"), ("web", ""));
        assert_eq!(split_image("web:1"), ("web", "1"));
        assert_eq!(split_image(""), ("", ""));
    }

    #[test]
    fn a_workload_is_named_by_what_owns_the_pod() {
        let low = |kind: &str, name: &str, hash| {
            let mut sender = Sender::default();
            sender.workload(kind, name, hash);
            (sender.low.join(","), sender.orchestrator.join(","))
        };
        let only = |low: &str| (low.to_owned(), String::new());
        assert_eq!(low("ReplicaSet", "web-5f", Some("5f")), only("kube_replica_set:web-5f,kube_deployment:web"));
        assert_eq!(low("ReplicaSet", "web-5f", None), only("kube_replica_set:web-5f"));
        assert_eq!(low("ReplicaSet", "5f", Some("5f")), only("kube_replica_set:5f"));
        assert_eq!(low("StatefulSet", "db", None), only("kube_stateful_set:db"));
        assert_eq!(low("Job", "import-7", None), only("kube_job:import-7"));
        assert_eq!(
            low("Job", "import-29012345", None),
            ("kube_cronjob:import".into(), "kube_job:import-29012345".into())
        );
        assert_eq!(low("Workflow", "x", None), only(""));
    }

    proptest! {
        #[test]
        fn a_higher_cardinality_has_more_tags_and_each_is_one_whatever_a_pod_is_called(
            texts in prop::collection::vec("\\PC{0,12}|[,|\n:]{0,3}", 7),
            kind in prop::sample::select(vec!["ReplicaSet", "Job", "StatefulSet", "DaemonSet", "Other"]),
        ) {
            let [name, namespace, owner, label, container, image, id] = &texts[..] else { unreachable!("seven") };
            let answer = serde_json::json!({"items": [{
                "metadata": {
                    "name": name, "namespace": namespace, "labels": {"team": label},
                    "ownerReferences": [{"kind": kind, "name": owner}],
                },
                "spec": {"containers": [{"name": container, "image": image}]},
            }]});
            let pods = pods::parse(answer.to_string().as_bytes()).expect("a list");
            let labels = [("team".to_owned(), "team".to_owned())];
            let of_pod = Sender::of_pod(&pods[0], &labels);
            let container = pods[0].containers().next().expect("one");
            let sender = of_pod.clone().container(&pods[0], container, Some(id));
            let tags = |sender: &Sender, cardinality| sender.up_to(cardinality).map(str::to_owned).collect::<Vec<_>>();
            let [none, low, orchestrator, high] =
                [Cardinality::None, Cardinality::Low, Cardinality::Orchestrator, Cardinality::High]
                    .map(|cardinality| tags(&sender, cardinality));
            prop_assert!(none.is_empty());
            prop_assert!(orchestrator.starts_with(&low) && high.starts_with(&orchestrator));
            prop_assert!(tags(&of_pod, Cardinality::High).iter().all(|tag| high.contains(tag)));
            let joined = Tags::new(high.iter().map(String::as_str));
            prop_assert_eq!(joined.iter().count(), high.len(), "{:?}", high);
            prop_assert!(high.iter().all(|tag| tag.contains(':') && !tag.contains(['|', '\n'])));
        }
    }

    #[test]
    fn no_value_can_make_two_tags_of_one() {
        let mut tags = Vec::new();
        add(&mut tags, "team", "a,b|c\nd");
        assert_eq!(tags, ["team:a_b_c_d"]);
    }
}
