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
    /// way stay, and names are formed anew.
    pub fn follow(&mut self, config: &Server) {
        self.guidance.own = config.clone();
        self.apply(config);
        if let Some(offer) = self.guidance.offer.take() {
            self.follow_offer(offer);
        }
    }

    /// Settings that whom it forwards to offers, as they change; none unless it was configured to follow them.
    pub fn offered(&self) -> watch::Receiver<Option<Offer>> {
        self.guidance.offered.clone()
    }

    /// Puts offered settings in place of those of its own configuration. Settings that cannot be used change nothing.
    pub fn follow_offer(&mut self, offer: Offer) {
        let revision = Arc::clone(&offer.revision);
        let config = match self.guidance.own.following(&offer.text) {
            Ok(config) => config,
            Err(problem) => {
                tracing::warn!(%revision, problem, "Offered settings are not used");
                let followed = self.guidance.offer.as_ref().map(|offer| Arc::clone(&offer.revision));
                self.guidance.followed.send_replace(followed);
                return;
            }
        };
        let before = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        for key in changes(&before, &config).live {
            tracing::info!(%revision, key, "Offered setting taken");
        }
        self.apply(&config);
        self.guidance.offer = Some(offer);
        self.guidance.followed.send_replace(Some(revision));
    }

    fn apply(&self, config: &Server) {
        let config = &followed(&*self.config.read().unwrap_or_else(PoisonError::into_inner), config);
        self.budget.limit(settings::limits(config));
        let publishing = Arc::new(settings::publishing(config));
        *self.flusher.publishing.write().unwrap_or_else(PoisonError::into_inner) = publishing;
        self.flusher.output.route(config);
        let rules = Arc::new(settings::rules(config));
        self.listeners().iter().for_each(|listener| listener.follow(&rules));
        self.flusher.observer.follow(&rules);
        self.guidance.offers.send_replace(settings::offer(&config.local_settings));
        self.config.write().unwrap_or_else(PoisonError::into_inner).clone_from(config);
    }
}
