//! Waiting for a ledger.

use std::time::Duration;

use veneur_forward::{Account, Ledger};

/// Longer than any step takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The ledger once `met`; every one seen until then is closed.
pub(crate) async fn until(account: &Account, what: &str, met: impl Fn(&Ledger) -> bool) -> Ledger {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let ledger = account.snapshot();
        assert_eq!(ledger.unaccounted(), 0, "{ledger:?}");
        if met(&ledger) {
            return ledger;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited until {what}: {ledger:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
