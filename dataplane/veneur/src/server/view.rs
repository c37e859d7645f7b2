//! What the admin port shows of a local or global.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use serde_json::json;
use tokio::sync::watch;
use veneur_aggregate::Budget;
use veneur_config::Server;
use veneur_forward::offer::Offer;
use veneur_sinks::Delivery;

use crate::{
    account::IngestAccount,
    admin::{Form, View},
    flush::{Flusher, LastFlush},
    import::lock,
    listen::Listener,
    telemetry::Snapshot,
};

/// Senders that `/status` names for each listener.
const ORIGINS_SHOWN: usize = 10;

/// An instance as the admin port sees it.
pub(super) struct ServerView {
    pub(super) role: &'static str,
    pub(super) interval: Duration,
    pub(super) config: Arc<RwLock<Server>>,
    pub(super) budget: Arc<Budget>,
    pub(super) flusher: Arc<Flusher>,
    /// Revision of the settings that it follows.
    pub(super) followed: watch::Receiver<Option<Arc<str>>>,
    pub(super) offers: watch::Receiver<Option<Offer>>,
}

impl View for ServerView {
    fn ready(&self) -> bool {
        true
    }

    fn snapshot(&self) -> Snapshot {
        let Flusher { listeners, output, .. } = &*self.flusher;
        Snapshot {
            role: self.role,
            node: self.flusher.kubelet.as_ref().map(|kubelet| kubelet.counts()),
            ingest: Some(IngestAccount::total(listeners.iter().map(|listener: &Listener| &*listener.account))),
            connections: listeners.iter().map(|listener| listener.connections.counts()).sum(),
            forward: output.account.snapshot(),
            sinks: output.sinks.iter().map(|sink| (sink.name().to_owned(), sink.ledger())).collect(),
            ring: None,
        }
    }

    fn config(&self, form: Form) -> Option<String> {
        let config = self.configured();
        config.http.config.then(|| form.of(&*config))
    }

    fn status(&self) -> serde_json::Value {
        let last: LastFlush = self.flusher.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting = lock(&self.flusher.open).intervals.contexts();
        let Flusher { output, observer, .. } = &*self.flusher;
        let rates = observer.rates();
        let mut status = json!({
            "interval_seconds": self.interval.as_secs(),
            "instance": output.name,
            "settings": {
                "followed": self.followed.borrow().as_deref(),
                "offered": self.offers.borrow().as_ref().map(|offer| &*offer.revision),
            },
            "last_flush": last,
            "unpublished_contexts": waiting,
            "contexts": self.budget.contexts(),
            "state_bytes": self.budget.bytes(),
            "self_metrics": observer.account().map(|ingest| ingest.samples),
            "listeners": self.flusher.listeners.iter().enumerate().map(|(index, listener)| json!({
                "protocol": listener.protocol,
                "address": listener.address,
                "rates": rates.get(index),
                "ledger": *listener.account.lock(),
                "connections": listener.connections.counts(),
                "origins": listener.origins().into_iter().take(ORIGINS_SHOWN).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "sinks": output.sinks.iter().map(sink_status).collect::<Vec<_>>(),
        });
        if let Some(kubelet) = &self.flusher.kubelet {
            status["node"] = kubelet.status();
        }
        status
    }
}

impl ServerView {
    fn configured(&self) -> RwLockReadGuard<'_, Server> {
        self.config.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sink_status(sink: &Delivery) -> serde_json::Value {
    let state = sink.state();
    json!({
        "name": sink.name(),
        "consecutive_failures": state.consecutive_failures,
        "last_error": state.last_error,
        "seconds_since_success": state.last_success.map(|when| when.elapsed().as_secs()),
    })
}
