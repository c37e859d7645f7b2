//! The wall clock of this room: boundaries are wall-clock times, so nothing here goes by a monotonic one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest sleep before the wall clock is looked at again, so that a step of the clock is noticed soon.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps until the wall clock shows `at_ms`.
pub async fn sleep_until(at_ms: u64) {
    loop {
        let left = Duration::from_millis(at_ms.saturating_sub(now_ms()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_AGAIN)).await;
    }
}
