//! What an interval has besides numbers: events and the outcomes of service checks.

use indexmap::IndexMap;
use veneur_metric::{Check, Event, Tags};

/// Events in order, and the last outcome of each check, of one interval. Bounded by bytes.
#[derive(Debug)]
pub struct Notices {
    events: Vec<Event>,
    checks: IndexMap<(Box<str>, Tags), Check>,
    bytes: usize,
    max_bytes: usize,
    dropped: u64,
}

impl Notices {
    /// Nothing yet, and room for `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { events: Vec::new(), checks: IndexMap::new(), bytes: 0, max_bytes, dropped: 0 }
    }

    /// Keeps an event. `false` if there is no room: it is counted as dropped, for `notice_limit`.
    pub fn event(&mut self, event: Event) -> bool {
        let kept = self.grow(event.bytes(), 0);
        if kept {
            self.events.push(event);
        }
        kept
    }

    /// Keeps the outcome of a check, in place of an earlier one of the same name and tags. `false` if there is no room:
    /// the earlier one stays, and this one is counted as dropped, for `notice_limit`.
    pub fn check(&mut self, check: Check) -> bool {
        let key = (check.name.clone(), check.tags.clone());
        let before = self.checks.get(&key).map_or(0, Check::bytes);
        let kept = self.grow(check.bytes(), before);
        if kept {
            self.checks.insert(key, check);
        }
        kept
    }

    /// Takes over what another has collected, as if it had come after all of this, and what it had to drop.
    /// Says how many of its events and checks there was no room for here; they are on the count of dropped too.
    pub fn absorb(&mut self, other: Self) -> u64 {
        let events = other.events.into_iter().map(|event| self.event(event)).filter(|kept| !kept).count();
        let checks = other.checks.into_values().map(|check| self.check(check)).filter(|kept| !kept).count();
        self.dropped += other.dropped;
        (events + checks) as u64
    }

    /// Ends the interval: what was collected, events in order. The count of dropped starts again.
    pub fn drain(&mut self) -> (Vec<Event>, Vec<Check>) {
        (self.bytes, self.dropped) = (0, 0);
        (std::mem::take(&mut self.events), std::mem::take(&mut self.checks).into_values().collect())
    }

    /// Events and checks that there was no room for since the last drain.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.checks.is_empty()
    }

    /// Makes room for `bytes` in place of `before`.
    fn grow(&mut self, bytes: usize, before: usize) -> bool {
        let after = (self.bytes - before).saturating_add(bytes);
        let fits = after <= self.max_bytes;
        if fits {
            self.bytes = after;
        } else {
            self.dropped += 1;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use veneur_metric::{AlertType, Priority, Status};

    use super::*;

    fn event(title: &str) -> Event {
        Event {
            title: title.into(),
            text: "text".into(),
            timestamp: None,
            host: None,
            aggregation_key: None,
            priority: Priority::Normal,
            source_type: None,
            alert_type: AlertType::Info,
            tags: Tags::none(),
        }
    }

    fn check(name: &str, tag: &str, status: Status, message: &str) -> Check {
        let message = Some(message.into());
        Check { name: name.into(), status, timestamp: None, host: None, message, tags: Tags::new([tag]) }
    }

    #[test]
    fn the_last_outcome_of_a_check_wins_and_tags_tell_checks_apart() {
        let mut notices = Notices::new(1 << 20);
        assert!(notices.check(check("db", "shard:1", Status::Ok, "fine")));
        assert!(notices.check(check("db", "shard:2", Status::Warning, "slow")));
        assert!(notices.check(check("db", "shard:1", Status::Critical, "gone")));
        let (events, checks) = notices.drain();
        assert_eq!(events, []);
        assert_eq!(
            checks,
            [check("db", "shard:1", Status::Critical, "gone"), check("db", "shard:2", Status::Warning, "slow")]
        );
        assert!(notices.is_empty(), "nothing survives an interval");
    }

    #[test]
    fn events_keep_their_order_and_are_never_merged() {
        let mut notices = Notices::new(1 << 20);
        let titles = ["b", "a", "b"];
        assert!(titles.iter().all(|title| notices.event(event(title))));
        let (events, _) = notices.drain();
        assert_eq!(events.iter().map(|event| &*event.title).collect::<Vec<_>>(), titles);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_what_is_there_stays() {
        let (small, large) = (check("db", "", Status::Ok, "fine"), check("db", "", Status::Critical, "a long story"));
        let mut notices = Notices::new(event("a").bytes() + small.bytes());
        assert!(notices.event(event("a")) && notices.check(small.clone()));
        assert!(!notices.event(event("b")) && !notices.check(large.clone()));
        assert_eq!(notices.dropped(), 2);
        assert!(notices.check(check("db", "", Status::Warning, "slow")), "in place of one of the same size");
        assert_eq!(notices.drain().1, [check("db", "", Status::Warning, "slow")]);
        assert!(notices.check(large), "an interval's end makes room");
    }

    #[test]
    fn what_readers_collected_comes_together_within_one_bound() {
        let room_for_two = 2 * event("a").bytes();
        let mut readers = [Notices::new(room_for_two), Notices::new(room_for_two)];
        for reader in &mut readers {
            assert_eq!(["a", "b", "c"].map(|title| reader.event(event(title))), [true, true, false]);
        }
        let mut all = Notices::new(room_for_two + event("a").bytes());
        let lost: u64 = readers.into_iter().map(|reader| all.absorb(reader)).sum();
        assert_eq!((lost, all.dropped()), (1, 3), "one here, and one in each reader");
        let titles: Vec<_> = all.drain().0.into_iter().map(|event| event.title).collect();
        assert_eq!(titles, ["a", "b", "a"].map(Box::from));
    }
}
