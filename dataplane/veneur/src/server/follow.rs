//! New settings for a running instance: of its own file, and of whom it forwards to.

use std::sync::{Arc, PoisonError};

use tokio::sync::watch;
use veneur_config::{Server, changes, followed};
use veneur_forward::offer::{Follower, Offer};

use super::Running;
use crate::settings;

/// Whose settings an instance has, and what it offers to others.
#[derive(Debug)]
pub(super) struct Guidance {
    /// What it was told itself.
    own: Server,
    /// What it follows in place of that.
    offer: Option<Offer>,
    /// The revision of that, for others to see.
    followed: watch::Sender<Option<Arc<str>>>,
    /// What whom it forwards to offers.
    offered: watch::Receiver<Option<Offer>>,
    /// What it offers to those who forward to it.
    offers: watch::Sender<Option<Offer>>,
}

impl Guidance {
    pub(super) fn new(config: &Server, follower: Option<&Follower>) -> Self {
        Self {
            own: config.clone(),
            offer: None,
            followed: watch::Sender::new(None),
            offered: follower.map_or_else(|| watch::channel(None).1, Follower::watch),
            offers: watch::Sender::new(settings::offer(&config.local_settings)),
        }
    }

    /// Its own configuration with what is offered in place of its own; says why, if that cannot be used.
    fn with(&self, offer: &Offer) -> Option<Server> {
        let Offer { text, revision } = offer;
        let config = self.own.following(text);
        config.map_err(|problem| tracing::warn!(%revision, problem, "Offered settings are not used")).ok()
    }

    /// Revision of the settings that it follows.
    pub(super) fn followed(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.followed.subscribe()
    }

    /// What it offers to those who forward to it.
    pub(super) fn offers(&self) -> watch::Receiver<Option<Offer>> {
        self.offers.subscribe()
    }
}

impl Running {
    /// Follows a changed configuration, as far as that needs no restart. No sample is lost: values of the interval under
    /// way stay, and those of the next one have names that are formed anew.
    pub fn follow(&mut self, config: &Server) {
        self.guidance.own = config.clone();
        let offer = self.guidance.offer.take();
        if let Some((config, offer)) = offer.and_then(|offer| Some((self.guidance.with(&offer)?, offer))) {
            self.take(&config, offer);
        } else {
            self.guidance.followed.send_replace(None);
            self.apply(config);
        }
    }

    /// Settings that whom it forwards to offers, as they change; none unless it was configured to follow them.
    pub fn offered(&self) -> watch::Receiver<Option<Offer>> {
        self.guidance.offered.clone()
    }

    /// Puts offered settings in place of those of its own configuration. Settings that cannot be used change nothing.
    pub fn follow_offer(&mut self, offer: Offer) {
        if let Some(config) = self.guidance.with(&offer) {
            self.take(&config, offer);
        }
    }

    fn take(&mut self, config: &Server, offer: Offer) {
        let Offer { revision, .. } = &offer;
        let before = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        for key in changes(&before, config).live {
            tracing::info!(%revision, key, "Offered setting taken");
        }
        self.apply(config);
        self.guidance.followed.send_replace(Some(Arc::clone(revision)));
        self.guidance.offer = Some(offer);
    }

    fn apply(&self, config: &Server) {
        let config = &followed(&*self.config.read().unwrap_or_else(PoisonError::into_inner), config);
        self.budget.limit(settings::limits(config));
        let publishing = Arc::new(settings::publishing(config));
        *self.flusher.publishing.write().unwrap_or_else(PoisonError::into_inner) = publishing;
        self.flusher.output.route(config);
        self.flusher.follow(settings::rules(config));
        self.guidance.offers.send_replace(settings::offer(&config.local_settings));
        self.config.write().unwrap_or_else(PoisonError::into_inner).clone_from(config);
    }
}
