//! What waits for a member that does not get it, given to others.

use bytes::Bytes;
use tokio::time::Instant;
use veneur_ring::Member;

use super::{
    Router, Routes,
    address::{Addressed, address},
};
use crate::{Batch, Facts, lane::Lane};

impl Router {
    /// Gives what waits for a member to those that own it without that member.
    pub(super) fn rehome(&self, routes: &mut Routes, member: &Member) {
        let Some(lane) = routes.lanes.get(member) else { return };
        let waiting = lane.take_waiting();
        self.rehome_batches(routes, waiting);
    }

    /// Gives away what came back to the lane of a member after it was passed over, or found nobody then.
    pub(super) fn rehome_stranded(&self, routes: &mut Routes) {
        let Routes { timeline, lanes, absent, .. } = &*routes;
        // Where a ring has no other member, or only such as are passed over for some stamps, it would come back.
        if !timeline.rings().all(|ring| ring.members().iter().any(|member| !absent.contains(member))) {
            return;
        }
        let strands = |(member, lane): &(&Member, &Lane)| absent.is_away(member) && lane.waiting().0 > 0;
        let away: Vec<Member> = lanes.iter().filter(strands).map(|(member, _)| member.clone()).collect();
        for member in away {
            self.rehome(routes, &member);
        }
    }

    pub(super) fn rehome_batches(&self, routes: &mut Routes, waiting: Vec<(Batch, Instant)>) {
        let arrived = self.arrived();
        for (batch, since) in waiting {
            let count = batch.len();
            let messages: Vec<Bytes> = batch.metrics.iter().map(|(_, message)| message).collect();
            // Who gave it away may be back, and is better than nobody.
            let facts = Facts { failover: true, leavers: Vec::new(), ..batch.facts };
            let addressed = |message| address(message, &facts, &arrived, &self.hashing).ok();
            let addressed: Vec<Addressed<'_>> = messages.iter().filter_map(|message| addressed(message)).collect();
            debug_assert_eq!(addressed.len() as u64, count, "what waits was valid when it came");
            self.account.record(|ledger| ledger.rehomed += count);
            self.route(routes, &facts, &arrived, addressed, since);
        }
    }
}
