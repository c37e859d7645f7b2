//! A proxy's ring and members, as metrics.

use std::{collections::BTreeMap, fmt};

use veneur_forward::{lane::Counts, router::RingView};

use super::Page;

type Count = (&'static str, &'static str, fn(&Counts) -> u64);

impl Page<'_> {
    pub(super) fn ring(&mut self, ring: &RingView) -> fmt::Result {
        let RingView { hash, blind, members, left } = ring;
        self.family(
            "veneur_ring",
            "Always 1: proxies with the same hash agree on every owner",
            &[([("hash", hash)], 1)],
        )?;
        self.gauge("veneur_ring_members", "Members of the newest ring", members.len() as i128)?;
        let help = "Whether changes of members are not seen at present: 1, or 0";
        self.gauge("veneur_ring_blind", help, i128::from(blind.is_some()))?;
        let absent = members.iter().filter(|member| member.absent).count();
        self.gauge(
            "veneur_ring_members_absent",
            "Members that are passed over, as they do not answer",
            absent as i128,
        )?;
        let counts: [Count; 3] = [
            ("veneur_member_acknowledged", "Answered OK by a member", |counts| counts.acknowledged),
            ("veneur_member_uncertain", "Sent to a member, neither answered nor certainly unread", |counts| {
                counts.uncertain
            }),
            ("veneur_member_lost", "Acknowledged by a member that died before it can have published them", |counts| {
                counts.lost_with_member
            }),
        ];
        // A member at a new address has two lanes for a while.
        let mut all: BTreeMap<&str, Counts> = BTreeMap::new();
        for member in members.iter().chain(left) {
            all.entry(&member.name).or_default().add(&member.counts);
        }
        for (name, help, count) in counts {
            let rows: Vec<_> = all.iter().map(|(member, counts)| ([("member", *member)], count(counts))).collect();
            self.family(name, help, &rows)?;
        }
        let dropped: Vec<_> = all
            .iter()
            .flat_map(|(member, counts)| {
                let dropped = counts.dropped.iter();
                dropped.map(|(reason, count)| ([("member", *member), ("reason", *reason)], *count))
            })
            .collect();
        self.family("veneur_member_dropped", "Lost on the way to a member, by reason", &dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        listen::ConnectionCounts,
        telemetry::{Snapshot, prometheus_text},
    };
    use veneur_forward::{Ledger, router::MemberView};

    #[test]
    fn a_member_counts_as_one_wherever_it_was_and_also_once_it_has_left() {
        let member = |name: &str, acknowledged| MemberView {
            name: name.into(),
            address: format!("10.0.0.{acknowledged}:8128"),
            absent: false,
            waiting_batches: 0,
            waiting_bytes: 0,
            counts: Counts { acknowledged, dropped: [("expired", 1)].into(), ..Counts::default() },
        };
        let left = vec![member("gone", 5), member("moved", 2)];
        let ring = RingView { hash: String::new(), blind: None, members: vec![member("moved", 1)], left };
        let text = prometheus_text(Snapshot {
            role: "proxy",
            ingest: None,
            node: None,
            connections: ConnectionCounts::default(),
            forward: Ledger::default(),
            sinks: Vec::new(),
            ring: Some(ring),
        });
        for line in [
            "veneur_ring_members 1",
            "veneur_member_acknowledged_total{member=\"gone\"} 5",
            "veneur_member_acknowledged_total{member=\"moved\"} 3",
            "veneur_member_dropped_total{member=\"moved\",reason=\"expired\"} 2",
        ] {
            assert_eq!(text.lines().filter(|told| *told == line).count(), 1, "{line} in\n{text}");
        }
    }
}
