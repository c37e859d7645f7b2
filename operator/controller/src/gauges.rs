//! What this replica's own state says in the metrics: how long certificates last, and whether it leads.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    certificates::{authority::Kept, certificate::Certificate},
    telemetry::Telemetry,
};

/// Days go by without a change.
const LOOK: Duration = Duration::from_mins(10);

/// What is looked at.
#[derive(Debug)]
pub struct Gauges {
    /// The certificate that this replica shows.
    pub leaf: watch::Receiver<Certificate>,
    /// Authorities by the name of their metric: `webhook_ca`, `tiers_ca`.
    pub authorities: Vec<(&'static str, watch::Receiver<Kept>)>,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
}

impl Gauges {
    /// Keeps the metrics current, until `stop`.
    pub async fn run(mut self, telemetry: Telemetry, stop: CancellationToken) {
        loop {
            let now = SystemTime::now();
            telemetry.certificate("webhook_leaf", self.leaf.borrow_and_update().expires, now);
            for (name, keyring) in &mut self.authorities {
                telemetry.certificate(name, keyring.borrow_and_update().keyring.current.certificate().expires, now);
            }
            telemetry.leads(*self.leading.borrow_and_update());
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = self.leaf.changed() => {}
                Ok(()) = self.leading.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
