//! The one line that people see first: whether metrics are accepted and delivered, and what is worst.

use veneur_operator_api::{ReadyReason, ReconciledReason, RingReason, TierReason};

use crate::fleet::FleetReport;

use super::{Around, Finding, Findings, Tiers, Verdict};

/// Ready means: the pipeline accepts metrics, and some sink takes them. So it needs the tiers, a ring and one sink. Pods
/// without a sidecar and nodes without an agent concern others and show in the column REASON only, and so does an object
/// that could not be applied while the tiers run on.
pub(super) fn ready(findings: &Findings, tiers: Option<&Tiers>, around: &Around) -> Finding {
    if findings.accepted.verdict == Verdict::False && around.older_default.is_none() {
        return findings.accepted.clone();
    }
    // Globals come first among the causes: without them nothing is published, however well the proxies do.
    let named = [("global", &findings.global), ("proxy", &findings.proxy), ("ring", &findings.ring)];
    if let Some((what, worst)) = named.into_iter().find(|(_, finding)| finding.verdict == Verdict::False) {
        let count = tiers.and_then(|tiers| match what {
            "global" => tiers.global.status.as_ref(),
            "proxy" => tiers.proxy.status.as_ref(),
            _ => None,
        });
        let count = count.map(|status| format!(" {}", status.summary)).unwrap_or_default();
        return Finding { message: format!("{what}{count}: {}", worst.message), ..worst.clone() };
    }
    if findings.sinks.verdict == Verdict::False && around.fleet.as_ref().is_some_and(FleetReport::no_sink_delivers) {
        return Finding { message: format!("no sink delivers: {}", findings.sinks.message), ..findings.sinks.clone() };
    }
    if findings.global.verdict == Verdict::Unknown || findings.proxy.verdict == Verdict::Unknown {
        if findings.reconciled.verdict == Verdict::False {
            return findings.reconciled.clone();
        }
        let message = "the tiers were not looked at yet";
        return Finding::new(Verdict::Unknown, ReadyReason::Reconciling.as_str(), message);
    }
    let mut parts = Vec::new();
    for (tier, report) in tiers.iter().flat_map(|tiers| [("proxy", &tiers.proxy), ("global", &tiers.global)]) {
        parts.extend(report.status.as_ref().map(|status| format!("{tier} {}", status.summary)));
    }
    parts.extend(
        tiers.and_then(|tiers| tiers.node.as_ref()?.status.as_ref()).map(|node| format!("node {}", node.summary)),
    );
    let counts = around.injection.as_ref().and_then(|injection| injection.status.as_ref());
    parts.extend(counts.map(|counts| format!("{} sidecars", counts.injected)));
    Finding::new(Verdict::True, ReadyReason::AllTiersReady.as_str(), parts.join(", "))
}

/// The reason of the worst condition; where nothing is wrong, of what is under way.
pub(super) fn reason(ready: &Finding, findings: &Findings) -> &'static str {
    if ready.verdict != Verdict::True {
        return ready.reason;
    }
    let Findings { accepted, reconciled, proxy, global, node, ring, injection, sinks, webhook } = findings;
    let waits = reconciled.reason == ReconciledReason::UpgradeWaiting.as_str();
    // Agents that are replaced node by node are under way, not wrong.
    let node_rolls = node.reason == TierReason::Progressing.as_str();
    let wrong = [
        Some(accepted),
        Some(reconciled).filter(|_| !waits),
        Some(sinks),
        Some(node).filter(|_| !node_rolls),
        Some(injection),
        Some(webhook),
    ];
    if let Some(worst) = wrong.into_iter().flatten().find(|finding| finding.verdict == Verdict::False) {
        return worst.reason;
    }
    let under_way = [
        (global, TierReason::Progressing.as_str()),
        (proxy, TierReason::Progressing.as_str()),
        (node, TierReason::Progressing.as_str()),
        (reconciled, ReconciledReason::UpgradeWaiting.as_str()),
        (reconciled, ReconciledReason::Paused.as_str()),
        (ring, RingReason::Converging.as_str()),
        (ring, RingReason::Stale.as_str()),
    ];
    under_way.into_iter().find(|(finding, reason)| finding.reason == *reason).map_or(ready.reason, |(_, reason)| reason)
}
