//! What a router shows of itself.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use veneur_ring::Member;

use super::{Router, Routes};
use crate::lane::{Counts, Lane};

/// A ring and its members.
#[derive(Debug, Serialize)]
pub struct RingView {
    /// Hash of the newest ring's members: equal on proxies that agree.
    pub hash: String,
    /// Why changes of members are not seen at present, in which case the last ring stays in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind: Option<String>,
    /// Members of the newest ring, by name and address, and what waits for each.
    pub members: Vec<MemberView>,
    /// Members that it has no more, until nothing is on its way to them and no older ring names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<MemberView>,
}

/// One member as a router sees it.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct MemberView {
    pub name: String,
    pub address: String,
    /// Whether it is passed over, because it does not answer.
    pub absent: bool,
    pub waiting_batches: usize,
    pub waiting_bytes: usize,
    #[serde(flatten)]
    pub counts: Counts,
}

impl Router {
    /// The newest ring, and who else has had something from here.
    pub fn view(&self) -> RingView {
        let routes = self.routes();
        let newest = routes.timeline.latest().map(|ring| ring.members()).unwrap_or_default();
        let members = newest.iter().map(|member| routes.show(member, routes.lanes.get(member)));
        let older = routes.lanes.iter().filter(|(member, _)| !newest.contains(member));
        let left = older.chain(routes.retiring.iter().map(|(member, lane)| (member, lane)));
        let mut left: Vec<MemberView> = left.map(|(member, lane)| routes.show(member, Some(lane))).collect();
        left.sort_by(|one, other| (&one.name, &one.address).cmp(&(&other.name, &other.address)));
        RingView {
            hash: routes.timeline.latest().map(|ring| format!("{:016x}", ring.hash())).unwrap_or_default(),
            blind: routes.blind.clone(),
            members: members.collect(),
            left,
        }
    }

    /// What became of the metrics of each member, by address, and how long batches took since the last call.
    pub fn take_counts(&self) -> BTreeMap<String, (Counts, Vec<Duration>)> {
        let routes = self.routes();
        let retiring = routes.retiring.iter().map(|(member, lane)| (member, lane));
        let mut all: BTreeMap<String, (Counts, Vec<Duration>)> = BTreeMap::new();
        for (member, lane) in routes.lanes.iter().chain(retiring) {
            let (counts, took) = all.entry(member.address.clone()).or_default();
            counts.add(&lane.counts());
            took.append(&mut lane.take_durations());
        }
        all
    }
}

impl Routes {
    fn show(&self, member: &Member, lane: Option<&Lane>) -> MemberView {
        let (waiting_batches, waiting_bytes) = lane.map(Lane::waiting).unwrap_or_default();
        MemberView {
            name: member.name.clone(),
            address: member.address.clone(),
            absent: self.absent.contains(member),
            waiting_batches,
            waiting_bytes,
            counts: lane.map(Lane::counts).unwrap_or_default(),
        }
    }
}
