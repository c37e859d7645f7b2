//! Settings that travel against the stream of data: who is forwarded to offers them, and who forwards follows.
//!
//! A sender says with each call which settings it follows, and the answer carries others if others are offered. So a
//! change needs no connection and no call of its own, and a sender that follows already costs a header.

use std::{hash::Hasher as _, sync::Arc};

use metrohash::MetroHash64;
use tokio::sync::watch;
use tonic::metadata::{BinaryMetadataValue, MetadataMap, MetadataValue};

/// Header of a call: the revision that its sender follows, or [`NONE`]. Who does not send it follows nothing.
/// In an answer: the revision of what is offered.
const REVISION: &str = "veneur-settings";
/// Header of an answer: settings, where they are others than those that the sender follows.
const SETTINGS: &str = "veneur-settings-bin";
/// The revision of a sender that has seen no settings yet.
const NONE: &str = "-";

/// Settings, as text, and what tells them from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The settings: what they mean is the business of those who write and read them.
    pub text: Arc<str>,
    /// Short name of the text, equal for equal texts.
    pub revision: Arc<str>,
}

impl Offer {
    /// Settings with the revision that follows from them.
    pub fn new(text: &str) -> Self {
        let mut hash = MetroHash64::default();
        hash.write(text.as_bytes());
        Self { text: text.into(), revision: format!("{:016x}", hash.finish()).into() }
    }

    /// What an answer carries of `offered`, given what its call said.
    pub(crate) fn answer(offered: Option<&Self>, asked: Option<&str>, metadata: &mut MetadataMap) {
        let (Some(offer), Some(asked)) = (offered, asked) else { return };
        if asked == &*offer.revision {
            return;
        }
        if let Ok(revision) = offer.revision.parse() {
            metadata.insert(REVISION, revision);
            metadata.insert_bin(SETTINGS, BinaryMetadataValue::from_bytes(offer.text.as_bytes()));
        }
    }

    /// What a call says that its sender follows; `None` if it follows nothing.
    pub(crate) fn asked(metadata: &MetadataMap) -> Option<Arc<str>> {
        metadata.get(REVISION)?.to_str().ok().map(Into::into)
    }
}

/// A sender's place for what it is offered.
#[derive(Debug, Clone)]
pub struct Follower {
    seen: watch::Sender<Option<Offer>>,
}

impl Default for Follower {
    fn default() -> Self {
        Self { seen: watch::Sender::new(None) }
    }
}

impl Follower {
    /// What was offered last.
    pub fn watch(&self) -> watch::Receiver<Option<Offer>> {
        self.seen.subscribe()
    }

    /// Writes what is followed into a call.
    pub(crate) fn ask(&self, metadata: &mut MetadataMap) {
        let revision = self.seen.borrow().as_ref().map_or_else(|| NONE.into(), |offer| Arc::clone(&offer.revision));
        metadata.insert(REVISION, revision.parse().unwrap_or_else(|_| MetadataValue::from_static(NONE)));
    }

    /// Reads an answer.
    pub(crate) fn take(&self, metadata: &MetadataMap) {
        let revision = metadata.get(REVISION).and_then(|revision| revision.to_str().ok());
        let text = metadata.get_bin(SETTINGS).and_then(|settings| settings.to_bytes().ok());
        let text = text.as_ref().and_then(|text| std::str::from_utf8(text).ok());
        if let (Some(revision), Some(text)) = (revision, text) {
            self.seen.send_replace(Some(Offer { text: text.into(), revision: revision.into() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One call of `follower` to who offers `offered`, and whether settings came with the answer.
    fn call(follower: &Follower, offered: Option<&Offer>) -> bool {
        let (mut asks, mut answers) = (MetadataMap::new(), MetadataMap::new());
        follower.ask(&mut asks);
        Offer::answer(offered, Offer::asked(&asks).as_deref(), &mut answers);
        follower.take(&answers);
        !answers.is_empty()
    }

    #[test]
    fn settings_come_once_for_each_change_of_them() {
        let (follower, first, second) = (Follower::default(), Offer::new("{}"), Offer::new(r#"{"max_contexts":1}"#));
        let seen = follower.watch();
        assert!(!call(&follower, None), "nothing is offered");
        assert!(call(&follower, Some(&first)));
        assert_eq!(*seen.borrow(), Some(first.clone()));
        assert!(!call(&follower, Some(&first)), "it is followed already");
        assert!(call(&follower, Some(&second)));
        assert_eq!(*seen.borrow(), Some(second));
        assert!(!call(&follower, None), "what is no longer offered is kept");
    }

    #[test]
    fn who_follows_nothing_is_offered_nothing() {
        let mut answers = MetadataMap::new();
        let asked = Offer::asked(&MetadataMap::new());
        Offer::answer(Some(&Offer::new("{}")), asked.as_deref(), &mut answers);
        assert!(answers.is_empty());
    }
}
