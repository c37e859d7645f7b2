//! Weights by bin, from the lowest bin that holds any to the highest.

use std::collections::VecDeque;

/// The most bins kept: what would lie lower counts in the lowest of them.
pub(super) const LIMIT: usize = 2_048;

/// A window of bins; empty, or with weight in both its ends.
#[derive(Debug, Clone)]
pub(super) struct Bins {
    weights: VecDeque<f64>,
    first: i32,
}

impl Bins {
    pub(super) const EMPTY: Self = Self { weights: VecDeque::new(), first: 0 };

    pub(super) fn add(&mut self, index: i32, weight: f64) {
        let at = usize::try_from(index - self.first).ok().filter(|&at| at < self.weights.len());
        let at = at.unwrap_or_else(|| self.widen(index));
        self.weights[at] += weight;
    }

    /// From the highest down, so that no bin is made that collapses at once.
    pub(super) fn merge(&mut self, other: &Self) {
        other.iter().rev().for_each(|(index, weight)| self.add(index, weight));
    }

    /// Bins that hold weight, ascending.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, f64)> {
        let indices = self.first..self.first + length(self.weights.len());
        indices.zip(self.weights.iter().copied()).filter(|&(_, weight)| weight > 0.0)
    }

    pub(super) fn count(&self) -> f64 {
        self.weights.iter().sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// The highest bin.
    pub(super) fn last(&self) -> Option<i32> {
        Some(self.first + length(self.weights.len().checked_sub(1)?))
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.weights.capacity() * size_of::<f64>()
    }

    /// Bytes that one more value in a bin takes.
    pub(super) fn grows(&self, index: i32) -> usize {
        let (low, high) = self.last().map_or((index, index), |last| (index.min(self.first), index.max(last)));
        let needed = usize::try_from(high - low + 1).unwrap_or(LIMIT).min(LIMIT);
        (self.capacity_for(needed) - self.weights.capacity()) * size_of::<f64>()
    }

    /// Makes the window reach to a bin, or to where it collapses, and returns its place.
    fn widen(&mut self, index: i32) -> usize {
        let last = self.last().unwrap_or(index);
        if self.weights.is_empty() {
            self.first = index;
        }
        let lowest = index.max(last) - length(LIMIT - 1);
        self.raise(lowest);
        let index = index.max(lowest);
        let needed = length_of(self.first.min(index), index.max(last));
        let more = self.capacity_for(needed) - self.weights.len();
        self.weights.reserve_exact(more);
        while self.first > index {
            self.weights.push_front(0.0);
            self.first -= 1;
        }
        if self.weights.len() < needed {
            self.weights.resize(needed, 0.0);
        }
        length_of(self.first, index) - 1
    }

    /// Moves the weight of all bins below `lowest` there.
    fn raise(&mut self, lowest: i32) {
        if self.weights.is_empty() || self.first >= lowest {
            return;
        }
        let mut moved = 0.0;
        while self.first < lowest
            && let Some(weight) = self.weights.pop_front()
        {
            moved += weight;
            self.first += 1;
        }
        self.first = lowest;
        match self.weights.front_mut() {
            Some(weight) => *weight += moved,
            None => self.weights.push_back(moved),
        }
    }

    /// Doubling, up to the limit.
    fn capacity_for(&self, needed: usize) -> usize {
        let capacity = self.weights.capacity();
        if needed <= capacity { capacity } else { needed.next_power_of_two().max(8) }
    }
}

/// A number of bins: 2,048 at most.
fn length(bins: usize) -> i32 {
    i32::try_from(bins).expect("bins are bounded by the limit")
}

fn length_of(first: i32, last: i32) -> usize {
    usize::try_from(last - first + 1).expect("the last is not before the first")
}
