//! The end of lanes: of members that have left every ring, and of all of them when the proxy stops.

use std::time::Duration;

use tokio::time::Instant;
use veneur_ring::Member;

use super::{Router, Routes};
use crate::{
    clock::{millis, now_ms},
    lane::Lane,
};

/// How often a draining router looks whether anything is held still, and gives it away.
const DRAIN_TURN: Duration = Duration::from_millis(20);

impl Router {
    /// Takes nothing more, and delivers what is held, to second choices where need be, for as long as `budget` lasts; the
    /// rest is dropped and counted. A silent member has half of it.
    pub async fn drain(&self, budget: Duration) {
        let begun = Instant::now();
        self.routes().draining = true;
        // Lanes stay open meanwhile: what one cannot deliver may be another's yet.
        while begun.elapsed() < budget && !self.is_drained(begun.elapsed() > budget / 2) {
            tokio::time::sleep(DRAIN_TURN).await;
        }
        let (lanes, mut tasks) = {
            let mut routes = self.routes();
            let mut lanes: Vec<Lane> = std::mem::take(&mut routes.lanes).into_values().collect();
            lanes.extend(std::mem::take(&mut routes.retiring).into_iter().map(|(_, lane)| lane));
            (lanes, std::mem::take(&mut routes.tasks))
        };
        tasks.shutdown().await;
        lanes.iter().for_each(Lane::abandon);
    }

    /// Gives away once more what members do not take, and says whether nothing is held any more.
    fn is_drained(&self, impatient: bool) -> bool {
        let mut routes = self.routes();
        self.look(&mut routes, impatient);
        self.retire(&mut routes);
        self.rehome_stranded(&mut routes);
        routes.lanes.values().for_each(Lane::hurry);
        routes.retiring.is_empty() && routes.lanes.values().all(Lane::is_empty)
    }

    /// Forgets rings that no stamp can need any more, closes the lanes of members in none of the rest, gives what still
    /// waits for them to others, and reaps those that are empty.
    pub(super) fn retire(&self, routes: &mut Routes) {
        routes.timeline.forget_before(now_ms().saturating_sub(2 * millis(self.interval)));
        let Routes { timeline, lanes, .. } = routes;
        let gone = |member: &Member| !timeline.rings().any(|ring| ring.members().contains(member));
        let left: Vec<Member> = lanes.keys().filter(|member| gone(member)).cloned().collect();
        for member in left {
            routes.absent.forget(&member);
            if let Some(lane) = routes.lanes.remove(&member) {
                self.rehome_batches(routes, lane.take_waiting());
                lane.give_up();
                routes.retiring.push((member, lane));
            }
        }
        // What was being sent when its member left may have come back since.
        for (_, lane) in routes.retiring.clone() {
            self.rehome_batches(routes, lane.take_waiting());
        }
        routes.retiring.retain(|(_, lane)| !lane.is_empty());
        while let Some(ended) = routes.tasks.try_join_next() {
            if let Err(panicked) = ended {
                tracing::error!(%panicked, "A lane's task failed: what it held waits until the process ends");
            }
        }
    }
}
