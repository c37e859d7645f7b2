//! What a router shows of itself.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::Router;
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
    /// The newest ring.
    pub fn view(&self) -> RingView {
        let routes = self.routes();
        let Some(ring) = routes.timeline.latest() else {
            return RingView { hash: String::new(), blind: routes.blind.clone(), members: Vec::new() };
        };
        let members = ring.members().iter().map(|member| {
            let lane = routes.lanes.get(member);
            let (waiting_batches, waiting_bytes) = lane.map(Lane::waiting).unwrap_or_default();
            MemberView {
                name: member.name.clone(),
                address: member.address.clone(),
                absent: routes.absent.contains(member),
                waiting_batches,
                waiting_bytes,
                counts: lane.map(Lane::counts).unwrap_or_default(),
            }
        });
        RingView { hash: format!("{:016x}", ring.hash()), blind: routes.blind.clone(), members: members.collect() }
    }

    /// What became of the metrics of each member in some ring, by address, and how long batches took since the last call.
    pub fn take_counts(&self) -> BTreeMap<String, (Counts, Vec<Duration>)> {
        let routes = self.routes();
        let lanes = routes.lanes.iter();
        lanes.map(|(member, lane)| (member.address.clone(), (lane.counts(), lane.take_durations()))).collect()
    }
}
