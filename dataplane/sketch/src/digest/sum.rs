//! A sum that does not lose small terms beside large ones (Neumaier 1974).

/// The running sum, and what its roundings dropped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    total: f64,
    dropped: f64,
}

impl Sum {
    pub(super) const ZERO: Self = Self { total: 0.0, dropped: 0.0 };

    pub(super) fn add(&mut self, term: f64) {
        let total = self.total + term;
        // Past the largest number there is nothing to correct, and infinity minus infinity would be NaN.
        if total.is_finite() {
            self.dropped +=
                if self.total.abs() >= term.abs() { self.total - total + term } else { term - total + self.total };
            self.total = total;
        } else if self.total.is_finite() {
            *self = Self { total, dropped: 0.0 };
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.add(other.total);
        self.add(other.dropped);
    }

    pub(super) fn value(self) -> f64 {
        self.total + self.dropped
    }
}
