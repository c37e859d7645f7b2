//! What is wrong for a while: one line in the log when it begins, one when it is over.

use std::collections::BTreeMap;

use veneur_forward::Ledger;
use veneur_metric::{Condition, Turn};

use super::{Counts, report::more};

/// Flushes without it after which something is over, so that what comes every other interval is not told each time.
const QUIET: u32 = 3;

/// Conditions that the ledgers of a local or global show.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    kernel_drops: Slow,
    folded: Slow,
    refused: BTreeMap<&'static str, Slow>,
    forward: Losses,
    sinks: BTreeMap<(usize, &'static str), Slow>,
}

impl Conditions {
    pub(super) fn look(&mut self, now: &Counts, before: &Counts, sinks: &[(String, &'static str)]) {
        let (old, new) = (&before.ingest, &now.ingest);
        let dropped = new.datagrams.kernel_dropped.saturating_sub(old.datagrams.kernel_dropped);
        match self.kernel_drops.0.look(dropped) {
            Some(Turn::Begun) => tracing::warn!(dropped, "The kernel drops datagrams: readers are too slow for them"),
            Some(Turn::Over { times }) => tracing::info!(dropped = times, "The kernel drops no datagrams any more"),
            None => {}
        }
        self.folded.look_at_folded(new.samples.folded - old.samples.folded, "samples");
        let refused: BTreeMap<_, _> = more(&old.samples.refused, &new.samples.refused).into_iter().collect();
        for (reason, turn, count) in turns(&mut self.refused, &refused) {
            match turn {
                Turn::Begun => tracing::warn!(reason, count, "Samples are refused"),
                Turn::Over { times } => tracing::info!(reason, refused = times, "No such samples are refused any more"),
            }
        }
        self.forward.look(&before.forward, &now.forward);
        let mut lost = BTreeMap::new();
        for (index, new) in now.sinks.iter().enumerate() {
            let old = before.sinks.get(index).map(|sink| sink.dropped.clone()).unwrap_or_default();
            let filtered = veneur_sinks::Reason::Filtered.as_str();
            let losses = more(&old, &new.dropped).into_iter().filter(|(reason, _)| *reason != filtered);
            lost.extend(losses.map(|(reason, count)| ((index, reason), count)));
        }
        for ((index, reason), turn, count) in turns(&mut self.sinks, &lost) {
            let sink = sinks.get(index).map_or("", |(name, _)| name.as_str());
            match turn {
                Turn::Begun => tracing::warn!(sink, reason, count, "Points are lost on the way to a sink"),
                Turn::Over { times } => {
                    tracing::info!(sink, reason, lost = times, "No such points are lost any more");
                }
            }
        }
    }
}

/// What a ledger of partials and points shows, of a proxy too.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    folded: Slow,
    lost: BTreeMap<&'static str, Slow>,
}

impl Losses {
    /// Looks at the losses between two snapshots.
    pub(crate) fn look(&mut self, before: &Ledger, now: &Ledger) {
        self.folded.look_at_folded(now.folded - before.folded, "imports");
        let lost: BTreeMap<_, _> = more(&before.dropped, &now.dropped).into_iter().collect();
        for (reason, turn, count) in turns(&mut self.lost, &lost) {
            match turn {
                Turn::Begun => tracing::warn!(reason, count, "Partials or points are lost"),
                Turn::Over { times } => {
                    tracing::info!(reason, lost = times, "No such partials or points are lost any more");
                }
            }
        }
    }
}

/// A condition that is over after some quiet flushes.
#[derive(Debug)]
struct Slow(Condition);

impl Default for Slow {
    fn default() -> Self {
        Self(Condition::new(QUIET))
    }
}

impl Slow {
    /// Tells when `what` finds no room for contexts of its own, and when it does again.
    fn look_at_folded(&mut self, folded: u64, what: &str) {
        match self.0.look(folded) {
            Some(Turn::Begun) => {
                tracing::warn!(folded, "The limit of contexts or bytes is reached: {what} join veneur.overflow");
            }
            Some(Turn::Over { times }) => tracing::info!(folded = times, "All {what} find room again"),
            None => {}
        }
    }
}

/// Looks at each condition that is known or met, and returns what has changed with the count of this look. Keys come
/// from closed lists, so the conditions are bounded.
fn turns<K: Ord + Copy>(conditions: &mut BTreeMap<K, Slow>, met: &BTreeMap<K, u64>) -> Vec<(K, Turn, u64)> {
    for key in met.keys() {
        conditions.entry(*key).or_default();
    }
    let looked = conditions.iter_mut().filter_map(|(key, condition)| {
        let count = met.get(key).copied().unwrap_or_default();
        Some((*key, condition.0.look(count)?, count))
    });
    looked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_begins_and_ends_by_itself() {
        let mut conditions = BTreeMap::new();
        let mut look = |met: &[(&'static str, u64)]| turns(&mut conditions, &met.iter().copied().collect());
        assert_eq!(look(&[("bad_rate", 2)]), [("bad_rate", Turn::Begun, 2)]);
        assert_eq!(look(&[("bad_rate", 1), ("too_long", 5)]), [("too_long", Turn::Begun, 5)]);
        assert_eq!(look(&[("too_long", 1)]), []);
        assert_eq!(look(&[("too_long", 1)]), []);
        assert_eq!(look(&[("too_long", 1)]), [("bad_rate", Turn::Over { times: 3 }, 0)]);
    }
}
