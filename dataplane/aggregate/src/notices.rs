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
}

impl Notices {
    /// Nothing yet, and room for `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { events: Vec::new(), checks: IndexMap::new(), bytes: 0, max_bytes }
    }

    /// Keeps an event. `false` if there is no room: `notice_limit`.
    pub fn event(&mut self, event: Event) -> bool {
        let kept = self.grow(event.bytes(), 0);
        if kept {
            self.events.push(event);
        }
        kept
    }

    /// Keeps the outcome of a check, in place of an earlier one of the same name and tags. `false` if there is no room:
    /// the earlier one stays.
    pub fn check(&mut self, check: Check) -> bool {
        let key = (check.name.clone(), check.tags.clone());
        let before = self.checks.get(&key).map_or(0, Check::bytes);
        let kept = self.grow(check.bytes(), before);
        if kept {
            self.checks.insert(key, check);
        }
        kept
    }

    /// Ends the interval: what was collected, events in order.
    pub fn drain(&mut self) -> (Vec<Event>, Vec<Check>) {
        self.bytes = 0;
        (std::mem::take(&mut self.events), std::mem::take(&mut self.checks).into_values().collect())
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
    fn what_does_not_fit_is_told_and_what_is_there_stays() {
        let (small, large) = (check("db", "", Status::Ok, "fine"), check("db", "", Status::Critical, "a long story"));
        let mut notices = Notices::new(event("a").bytes() + small.bytes());
        assert!(notices.event(event("a")) && notices.check(small.clone()));
        assert!(!notices.event(event("b")) && !notices.check(large.clone()));
        assert!(notices.check(check("db", "", Status::Warning, "slow")), "in place of one of the same size");
        assert_eq!(notices.drain().1, [check("db", "", Status::Warning, "slow")]);
        assert!(notices.check(large), "an interval's end makes room");
    }
}
