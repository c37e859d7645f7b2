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

    /// Adds terms without a branch for each (the two-sum of Knuth 1969). False, and nothing added, when the sum passes
    /// the largest number on the way or is past it already.
    #[must_use]
    pub(super) fn try_add_all(&mut self, terms: impl Iterator<Item = f64>) -> bool {
        let (total, dropped) = terms.fold((self.total, self.dropped), |(total, dropped), term| {
            let next = total + term;
            let of_term = next - total;
            (next, dropped + ((total - (next - of_term)) + (term - of_term)))
        });
        // Whatever was infinite once is infinite or NaN at the end.
        let finite = total.is_finite() && dropped.is_finite();
        if finite {
            *self = Self { total, dropped };
        }
        finite
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.add(other.total);
        self.add(other.dropped);
    }

    pub(super) fn value(self) -> f64 {
        self.total + self.dropped
    }
}

impl From<f64> for Sum {
    fn from(total: f64) -> Self {
        Self { total, dropped: 0.0 }
    }
}
