//! Who is who on a node.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use veneur_dogstatsd::Claim;

use super::{pods::Pod, tags::Sender, unknown::Key};

/// Pods and containers known at a time; a node has some hundred.
const MOST: usize = 16_384;

/// For how long who is gone from the list is known: its last samples may come late.
const GONE: Duration = Duration::from_mins(5);

/// Senders by id.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    containers: HashMap<Box<str>, Entry>,
    pods: HashMap<Box<str>, Entry>,
    /// By uid of the pod and name of the container.
    names: HashMap<(Box<str>, Box<str>), Entry>,
    /// Ids of containers by inode of their cgroup.
    inodes: HashMap<u64, Box<str>>,
}

#[derive(Debug, Clone)]
struct Entry {
    sender: Arc<Sender>,
    listed: Instant,
}

/// What a directory says otherwise than the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Somebody who was in both has other tags.
    pub(crate) tags: bool,
    /// Somebody is new.
    pub(crate) more: bool,
}

impl Directory {
    /// Of a list of pods, and for a while of those that were in `old`. Without `inodes` the old ones are kept.
    pub(crate) fn new(
        pods: &[Pod],
        labels: &[(String, String)],
        inodes: Option<HashMap<u64, Box<str>>>,
        old: &Self,
        now: Instant,
    ) -> (Self, Changed) {
        let mut new = Self { inodes: inodes.unwrap_or_else(|| old.inodes.clone()), ..Self::default() };
        for pod in pods {
            let of_pod = Sender::of_pod(pod, labels);
            let uid = || pod.metadata.uid.as_str().into();
            for container in pod.containers() {
                let status = pod.status(&container.name);
                let (id, before) = (status.and_then(|it| it.id()), status.and_then(|it| it.id_before()));
                let entry = |id| {
                    let sender = of_pod.clone().container(pod, container, id);
                    Entry { sender: Arc::new(sender), listed: now }
                };
                for id in [before, id].into_iter().flatten() {
                    put(&mut new.containers, id.into(), entry(Some(id)));
                }
                put(&mut new.names, (uid(), container.name.as_str().into()), entry(id));
            }
            put(&mut new.pods, uid(), Entry { sender: Arc::new(of_pod), listed: now });
        }
        let mut changed = Changed::default();
        carry(&mut new.containers, &old.containers, now, &mut changed);
        carry(&mut new.names, &old.names, now, &mut changed);
        carry(&mut new.pods, &old.pods, now, &mut changed);
        (new, changed)
    }

    /// Who a claim means: the container if it can be told, else the pod. The error is whom to ask for.
    pub(crate) fn find(&self, claim: &Claim<'_>) -> Result<&Sender, Option<Key>> {
        let by_inode = || self.inodes.get(&claim.inode?);
        let container = claim
            .container
            .and_then(|id| self.containers.get(id))
            .or_else(|| self.containers.get(by_inode()?))
            .or_else(|| self.names.get(&(claim.pod?.into(), claim.container_name?.into())))
            .or_else(|| self.pods.get(claim.pod?));
        container.map(|entry| &*entry.sender).ok_or_else(|| Key::of(claim))
    }

    pub(crate) fn knows(&self, key: &Key) -> bool {
        match key {
            Key::Container(id) => self.containers.contains_key(id),
            Key::Inode(inode) => self.inodes.get(inode).is_some_and(|id| self.containers.contains_key(id)),
            Key::Pod(uid) => self.pods.contains_key(uid),
        }
    }

    pub(crate) fn pods(&self) -> usize {
        self.pods.len()
    }

    pub(crate) fn containers(&self) -> usize {
        self.containers.len()
    }
}

fn put<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Entry>, key: K, entry: Entry) {
    if map.len() < MOST {
        map.insert(key, entry);
    }
}

/// Keeps of `old` who has not been gone for long, and says what is otherwise.
fn carry<K: Eq + std::hash::Hash + Clone>(
    new: &mut HashMap<K, Entry>,
    old: &HashMap<K, Entry>,
    now: Instant,
    changed: &mut Changed,
) {
    for (key, entry) in new.iter() {
        match old.get(key) {
            Some(before) => changed.tags |= before.sender != entry.sender,
            None => changed.more = true,
        }
    }
    for (key, entry) in old {
        if !new.contains_key(key) && now.saturating_duration_since(entry.listed) < GONE {
            put(new, key.clone(), entry.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use veneur_dogstatsd::Cardinality;

    use super::{super::pods, *};

    const APP: &str = "4f2a000000000000000000000000000000000000000000000000000000000000";
    const APP_BEFORE: &str = "0a0a000000000000000000000000000000000000000000000000000000000000";
    const WEB: &str = "9b1d0000-0000-4000-8000-000000000001";

    fn recorded() -> Vec<Pod> {
        pods::parse(include_bytes!("../../tests/kubelet/pods.json")).expect("a list")
    }

    fn directory(inodes: Option<HashMap<u64, Box<str>>>) -> Directory {
        let labels = [("team".to_owned(), "squad".to_owned())];
        Directory::new(&recorded(), &labels, inodes, &Directory::default(), Instant::now()).0
    }

    fn tags(directory: &Directory, sections: &str) -> Option<String> {
        let claim = Claim::parse(sections.as_bytes());
        let sender = directory.find(&claim).ok()?;
        let mut tags: Vec<&str> = sender.up_to(claim.cardinality.unwrap_or(Cardinality::Low)).collect();
        tags.sort_unstable();
        Some(tags.join(" "))
    }

    #[test]
    fn each_cardinality_has_its_tags() {
        let directory = directory(None);
        let low = "image_name:registry.local:5000/shop/web image_tag:1.4 kube_app_name:web kube_container_name:app \
                   kube_deployment:web kube_namespace:shop kube_ownerref_kind:replicaset kube_replica_set:web-5f9c \
                   short_image:web squad:checkout";
        let sections = |card| format!("c:ci-{APP}|card:{card}");
        assert_eq!(tags(&directory, &sections("none")), Some(String::new()));
        assert_eq!(tags(&directory, &sections("low")), Some(low.to_owned()));
        let mut all: Vec<String> = low.split(' ').map(str::to_owned).collect();
        all.extend(["pod_name:web-5f9c-x1".into(), "kube_ownerref_name:web-5f9c".into()]);
        all.sort_unstable();
        assert_eq!(tags(&directory, &sections("orchestrator")), Some(all.join(" ")));
        all.extend([format!("container_id:{APP}"), "display_container_name:app_web-5f9c-x1".into()]);
        all.sort_unstable();
        assert_eq!(tags(&directory, &sections("high")), Some(all.join(" ")));
    }

    #[test]
    fn a_sender_is_found_by_each_thing_it_may_say() {
        let directory = directory(Some(HashMap::from([(77, APP.into()), (78, "gone".into())])));
        let app = tags(&directory, &format!("c:{APP}")).expect("by its id");
        for sections in
            ["c:in-77".into(), format!("c:ci-unknown|e:it-false,cn-app,pu-{WEB}"), format!("c:{APP_BEFORE}")]
        {
            assert_eq!(tags(&directory, &sections).as_ref(), Some(&app), "{sections}");
        }
        let pod = tags(&directory, &format!("e:pu-{WEB},cn-unknown")).expect("the pod at least");
        assert!(pod.contains("kube_deployment:web") && !pod.contains("kube_container_name"), "{pod}");
        let starting = tags(&directory, &format!("e:pu-{WEB},cn-proxy|card:high")).expect("has no id yet");
        assert!(starting.contains("short_image:envoy") && !starting.contains("container_id"), "{starting}");
        assert_eq!(directory.find(&Claim::parse(b"c:in-78")), Err(Some(Key::Inode(78))));
        assert_eq!(directory.find(&Claim::parse(b"c:ci-9,in-9|e:pu-9")), Err(Some(Key::Container("9".into()))));
        assert!(directory.knows(&Key::Inode(77)) && !directory.knows(&Key::Inode(78)));
    }

    #[test]
    fn who_is_gone_is_known_for_a_while_and_changes_are_told() {
        let start = Instant::now();
        let (first, changed) = Directory::new(&recorded(), &[], None, &Directory::default(), start);
        assert_eq!(changed, Changed { tags: false, more: true });
        let (same, changed) = Directory::new(&recorded(), &[], None, &first, start);
        assert_eq!(changed, Changed::default());
        let (_, changed) = Directory::new(&recorded(), &[("team".into(), "team".into())], None, &same, start);
        assert_eq!(changed, Changed { tags: true, more: false });

        let (without, changed) = Directory::new(&[], &[], None, &first, start + GONE / 2);
        assert_eq!((changed, without.containers()), (Changed::default(), 4));
        let (later, _) = Directory::new(&[], &[], None, &without, start + GONE);
        assert_eq!((later.containers(), later.pods()), (0, 0));
    }
}
