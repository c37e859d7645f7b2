//! Who publishes what: the one place that decides it.
//!
//! The rows are the original's (its README, "Global vs. local aggregation"), but for the median of a mixed
//! distribution: the original publishes one on each tier, which is two values of one statistic.

use veneur_metric::{Kind, Scope};

/// What an instance does with a context at a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    /// Which samples the published aggregates (or the counter, gauge or set) cover.
    pub(crate) aggregates: Covers,
    /// Whether percentiles and the median are published here.
    pub(crate) percentiles: bool,
    /// Whether a partial leaves for the next tier.
    pub(crate) forward: bool,
}

/// Which samples a published value covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Covers {
    /// Not published here.
    Nothing,
    /// What this instance sampled itself; another tier publishes nothing of the sort.
    Own,
    /// Everything, imports included.
    All,
}

const FORWARD_ONLY: Split = Split { aggregates: Covers::Nothing, percentiles: false, forward: true };
const ALL_HERE: Split = Split { aggregates: Covers::All, percentiles: true, forward: false };

/// The split for a context of `kind` and `scope` on an instance that forwards, or does not.
pub(crate) fn split(kind: Kind, scope: Scope, forwards: bool) -> Split {
    match (kind, scope) {
        (Kind::Histogram | Kind::Timer, Scope::Mixed) => {
            Split { aggregates: Covers::Own, percentiles: !forwards, forward: forwards }
        }
        (Kind::Set, Scope::Mixed) | (_, Scope::Global) if forwards => FORWARD_ONLY,
        // Local contexts, mixed counters and gauges, and whatever has reached a tier that forwards nothing.
        _ => ALL_HERE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 5] = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Timer, Kind::Set];
    const SCOPES: [Scope; 3] = [Scope::Mixed, Scope::Local, Scope::Global];

    #[test]
    fn each_statistic_is_published_by_exactly_one_tier() {
        for kind in KINDS {
            for scope in SCOPES {
                let local = split(kind, scope, true);
                let global = split(kind, scope, false);
                assert_eq!(
                    local.forward, !local.percentiles,
                    "{kind} {scope:?}: what is forwarded is completed there, and only that"
                );
                // A global publishes aggregates of a forwarded context only where the local published none.
                let twice = local.forward && local.aggregates != Covers::Nothing && global.aggregates == Covers::All;
                assert!(!twice, "{kind} {scope:?}: aggregates on both tiers");
                assert!(!global.forward, "{kind} {scope:?}: a global has nowhere to forward to");
            }
        }
    }

    #[test]
    fn scopes_decide_as_in_the_original() {
        use Covers::{All, Nothing, Own};
        let row = |kind, scope| {
            let (local, global) = (split(kind, scope, true), split(kind, scope, false));
            (local.aggregates, local.percentiles, local.forward, global.aggregates, global.percentiles)
        };
        assert_eq!(row(Kind::Counter, Scope::Mixed), (All, true, false, All, true));
        assert_eq!(row(Kind::Gauge, Scope::Global), (Nothing, false, true, All, true));
        assert_eq!(row(Kind::Timer, Scope::Mixed), (Own, false, true, Own, true));
        assert_eq!(row(Kind::Timer, Scope::Local), (All, true, false, All, true));
        assert_eq!(row(Kind::Histogram, Scope::Global), (Nothing, false, true, All, true));
        assert_eq!(row(Kind::Set, Scope::Mixed), (Nothing, false, true, All, true));
        assert_eq!(row(Kind::Set, Scope::Local), (All, true, false, All, true));
    }
}
