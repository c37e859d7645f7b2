//! What is handed to a sink together.

use veneur_metric::{Check, Event, Point};

/// Points, events and outcomes of checks, each in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Items {
    /// Finished values.
    pub points: Vec<Point>,
    /// Events.
    pub events: Vec<Event>,
    /// Outcomes of service checks.
    pub checks: Vec<Check>,
}

impl Items {
    /// How many there are of all.
    pub fn len(&self) -> usize {
        self.points.len() + self.events.len() + self.checks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What they take in memory.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.points.iter().map(|point| point.name.len() + point.tags.joined().len()).sum();
        let events: usize = self.events.iter().map(Event::bytes).sum();
        let checks: usize = self.checks.iter().map(Check::bytes).sum();
        size_of_val(self.points.as_slice()) + texts + events + checks
    }

    /// Appends others.
    pub(crate) fn extend(&mut self, more: Self) {
        self.points.extend(more.points);
        self.events.extend(more.events);
        self.checks.extend(more.checks);
    }
}

impl From<Vec<Point>> for Items {
    fn from(points: Vec<Point>) -> Self {
        Self { points, ..Self::default() }
    }
}

impl From<Vec<Event>> for Items {
    fn from(events: Vec<Event>) -> Self {
        Self { events, ..Self::default() }
    }
}

impl From<Vec<Check>> for Items {
    fn from(checks: Vec<Check>) -> Self {
        Self { checks, ..Self::default() }
    }
}
