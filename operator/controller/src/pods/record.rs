//! What is kept of a pod that asked.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, core::PartialObjectMeta};

use super::{Event, PodEvent};
use crate::{
    injection::{INJECT, INJECTED, MIRROR, Mode, SKIPPED, STATUS, Stamp, Wish},
    namespaces::Namespaces,
};

/// Label by which a `ReplicaSet`'s name is told from its Deployment's.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// What is kept of a pod that asked. Texts that many have in common are shared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    /// `KIND/NAME` of what made it, seen through a `ReplicaSet`; its own for a pod that nobody makes anew.
    pub(super) workload: Arc<str>,
    /// Whether a controller makes it anew.
    pub(super) owned: bool,
    /// Unix seconds.
    pub(super) created: i64,
    pub(super) state: State,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It takes part.
    Injected {
        pipeline: Arc<str>,
        revision: Arc<str>,
        image: Option<Arc<str>>,
        /// It has no sidecar and sends to its node's agent.
        env_only: bool,
        /// An exchange of the image has begun, and not ended.
        unsettled: bool,
    },
    /// It was told why not; with what it asked for, where it said so itself.
    Skipped { reason: Arc<str>, wish: Option<Arc<str>> },
    /// The webhook has not seen it; with what it asked for, where it said so itself.
    Unseen { wish: Option<Arc<str>> },
}

/// Every pod that asked.
#[derive(Debug)]
pub(super) struct Records {
    namespaces: Namespaces,
    all: HashMap<(Arc<str>, Box<str>), Record>,
    /// Of a list under way.
    listing: HashMap<(Arc<str>, Box<str>), Record>,
    texts: HashSet<Arc<str>>,
    listed: bool,
    is_listing: bool,
}

impl Records {
    pub(super) fn new(namespaces: Namespaces) -> Self {
        let (all, listing, texts) = <_>::default();
        Self { namespaces, all, listing, texts, listed: false, is_listing: false }
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether all pods were listed, and are not being listed anew.
    pub(super) fn is_settled(&self) -> bool {
        self.listed && !self.is_listing
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.all.values()
    }

    /// Whether anything that is counted changed.
    pub(super) fn take(&mut self, event: PodEvent) -> bool {
        match event {
            Event::Init => {
                self.is_listing = true;
                self.listing.clear();
                false
            }
            Event::InitApply(pod) => {
                if let Some(record) = self.record(&pod) {
                    self.listing.insert((Arc::clone(&record.namespace), record.name.clone()), record);
                }
                false
            }
            Event::InitDone => {
                self.all = std::mem::take(&mut self.listing);
                self.all.shrink_to_fit();
                self.texts.retain(|text| Arc::strong_count(text) > 1);
                (self.listed, self.is_listing) = (true, false);
                true
            }
            Event::Apply(pod) => match self.record(&pod) {
                Some(record) => {
                    let key = (Arc::clone(&record.namespace), record.name.clone());
                    let same = self.all.get(&key) == Some(&record);
                    self.all.insert(key, record);
                    !same
                }
                None => self.forget(&pod),
            },
            Event::Delete(pod) => self.forget(&pod),
        }
    }

    /// Forgets the pods of a namespace that no longer asks for them, but those that ask themselves.
    pub(super) fn forget_unasked(&mut self, namespace: &str) {
        self.all.retain(|(of, _), record| {
            let unasked = matches!(record.state, State::Skipped { wish: None, .. } | State::Unseen { wish: None });
            **of != *namespace || !unasked
        });
    }

    fn forget(&mut self, pod: &PartialObjectMeta<Pod>) -> bool {
        let key = (self.text(&pod.namespace().unwrap_or_default()), pod.name_any().into_boxed_str());
        self.all.remove(&key).is_some()
    }

    /// What is to be kept of a pod; nothing of one that did not ask, that is being deleted, or that no patch reaches.
    fn record(&mut self, pod: &PartialObjectMeta<Pod>) -> Option<Record> {
        let annotation = |key: &str| pod.annotations().get(key).map(String::as_str);
        if pod.metadata.deletion_timestamp.is_some() || annotation(MIRROR).is_some() {
            return None;
        }
        let namespace = pod.namespace().unwrap_or_default();
        let (annotated, labelled) = (annotation(INJECT), pod.labels().get(INJECT).map(String::as_str));
        let stamp = annotation(STATUS).filter(|_| pod.labels().contains_key(INJECTED)).and_then(Stamp::parse);
        let state = if let Some(stamp) = stamp {
            State::Injected {
                pipeline: self.text(&stamp.pipeline),
                revision: self.text(&stamp.revision),
                unsettled: stamp.before.is_some(),
                image: stamp.image.map(|image| self.text(&image)),
                env_only: stamp.mode == Mode::EnvOnly,
            }
        } else {
            // Two enabled namespaces ask alike: what a pod does not say itself is looked up when it is counted.
            let known = self.namespaces.known(&namespace);
            Wish::of(annotated, labelled, known.as_deref()?)?;
            let wish = annotated.or(labelled).map(|said| self.text(said));
            match annotation(SKIPPED) {
                Some(why) => {
                    State::Skipped { reason: self.text(why.split(':').next().unwrap_or_default().trim()), wish }
                }
                None => State::Unseen { wish },
            }
        };
        let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        let workload = match owner {
            None => format!("Pod/{}", pod.name_any()),
            Some(owner) => {
                let hash = pod.labels().get(TEMPLATE_HASH).filter(|_| owner.kind == "ReplicaSet");
                let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
                deployment.map_or_else(|| format!("{}/{}", owner.kind, owner.name), |name| format!("Deployment/{name}"))
            }
        };
        Some(Record {
            namespace: self.text(&namespace),
            name: pod.name_any().into_boxed_str(),
            workload: self.text(&workload),
            owned: owner.is_some(),
            created: pod.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            state,
        })
    }

    /// One copy of each text.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }
}
