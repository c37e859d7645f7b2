//! A proxy's ring and members, as metrics.

use std::fmt;

use veneur_forward::{lane::Counts, router::RingView};

use super::Page;

type Count = (&'static str, &'static str, fn(&Counts) -> u64);

impl Page<'_> {
    pub(super) fn ring(&mut self, ring: &RingView) -> fmt::Result {
        let RingView { hash, blind, members } = ring;
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
        for (name, help, count) in counts {
            let rows: Vec<_> =
                members.iter().map(|member| ([("member", member.name.as_str())], count(&member.counts))).collect();
            self.family(name, help, &rows)?;
        }
        let dropped: Vec<_> = members
            .iter()
            .flat_map(|member| {
                let dropped = member.counts.dropped.iter();
                dropped.map(|(reason, count)| ([("member", member.name.as_str()), ("reason", *reason)], *count))
            })
            .collect();
        self.family("veneur_member_dropped", "Lost on the way to a member, by reason", &dropped)
    }
}
