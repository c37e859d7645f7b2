//! The spellings that a table knows, by fingerprint.
//!
//! Open addressing with linear probing: one cache line answers most questions. Spellings outlive the interval, so that a
//! client that goes on sending costs no allocation; those that have been idle for some intervals are swept out, a few
//! slots at a time.

use std::sync::Arc;

use veneur_metric::Context;

use crate::{fingerprint::Fingerprint, table::names_bytes};

/// Slots of the first table.
const FIRST: usize = 64;

/// Slots looked at in one step of sweeping.
const STEP: usize = 32;

/// A spelling and where its value of this interval is. Half a cache line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot {
    low: u64,
    high: u32,
    /// The interval in which it was seen last.
    pub(crate) seen: u32,
    /// Index of its value in that interval.
    pub(crate) cell: u32,
    /// What it means; `None` in a free slot.
    pub(crate) context: Option<Arc<Context>>,
}

/// The table of spellings.
#[derive(Debug, Default)]
pub(crate) struct Known {
    slots: Vec<Slot>,
    used: usize,
    /// The next slot to sweep; past the end when the sweep is over.
    hand: usize,
}

impl Known {
    /// The slot of a spelling, if it is known.
    #[inline]
    pub(crate) fn find(&mut self, fingerprint: Fingerprint) -> Option<&mut Slot> {
        let at = self.place(fingerprint)?;
        self.slots[at].context.is_some().then(|| &mut self.slots[at])
    }

    /// Makes a spelling known that is not.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, seen: u32, cell: u32, context: Arc<Context>) {
        // Up to 13/16: probes stay short, and memory is half of what they would need to be shortest.
        if (self.used + 1) * 16 > self.slots.len() * 13 {
            self.grow();
        }
        let at = self.place(fingerprint).expect("the table has just been given room");
        debug_assert!(self.slots[at].context.is_none(), "only unknown spellings are inserted");
        let Fingerprint { low, high } = fingerprint;
        self.slots[at] = Slot { low, high, seen, cell, context: Some(context) };
        self.used += 1;
    }

    /// Spellings known.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// What all spellings are charged for.
    pub(crate) fn names_bytes(&self) -> usize {
        self.slots.iter().filter_map(|slot| slot.context.as_deref()).map(names_bytes).sum()
    }

    /// Begins a new sweep.
    pub(crate) fn begin_sweep(&mut self) {
        self.hand = 0;
    }

    /// Looks at the next few slots and takes out those last seen before `oldest`, each of which is told to `gone`.
    #[inline]
    pub(crate) fn sweep(&mut self, oldest: u32, gone: impl FnMut(&Slot)) {
        if self.hand < self.slots.len() {
            self.sweep_step(oldest, gone);
        }
    }

    fn sweep_step(&mut self, oldest: u32, mut gone: impl FnMut(&Slot)) {
        let end = (self.hand + STEP).min(self.slots.len());
        while self.hand < end {
            let slot = &self.slots[self.hand];
            if slot.context.is_some() && slot.seen < oldest {
                gone(slot);
                // What moves up into this place is looked at next.
                self.remove(self.hand);
            } else {
                self.hand += 1;
            }
        }
    }

    /// Forgets every spelling.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Where a spelling is, or the free slot where it would be. `None` only before the first insertion.
    #[inline]
    fn place(&self, Fingerprint { low, high }: Fingerprint) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = home(low, mask);
        loop {
            let slot = &self.slots[at];
            if (slot.low == low && slot.high == high) || slot.context.is_none() {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let slots = vec![Slot::default(); (self.slots.len() * 2).max(FIRST)];
        let old = std::mem::replace(&mut self.slots, slots);
        for slot in old.into_iter().filter(|slot| slot.context.is_some()) {
            let at = self.place(Fingerprint { low: slot.low, high: slot.high }).expect("there are slots");
            self.slots[at] = slot;
        }
        self.hand = self.hand.min(self.slots.len());
    }

    /// Frees a slot, and moves up those behind it that it kept from their place (Knuth, volume 3, algorithm 6.4 R).
    fn remove(&mut self, mut free: usize) {
        let mask = self.slots.len() - 1;
        self.used -= 1;
        let mut next = free;
        loop {
            self.slots[free] = Slot::default();
            loop {
                next = (next + 1) & mask;
                if self.slots[next].context.is_none() {
                    return;
                }
                let home = home(self.slots[next].low, mask);
                let stays = (next.wrapping_sub(home) & mask) < (next.wrapping_sub(free) & mask);
                if !stays {
                    break;
                }
            }
            self.slots[free] = std::mem::take(&mut self.slots[next]);
            free = next;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the mask keeps the bits that are there")]
#[inline]
fn home(low: u64, mask: usize) -> usize {
    low as usize & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use veneur_metric::{Kind, Scope, Tags};

    fn context() -> Arc<Context> {
        Arc::new(Context { name: "a".into(), tags: Tags::none(), kind: Kind::Counter, scope: Scope::Mixed })
    }

    proptest! {
        #[test]
        fn what_is_not_swept_is_found_and_what_is_swept_is_not(
            // Few homes, so that spellings crowd each other out of their places.
            spellings in prop::collection::hash_map((0_u64..40).prop_map(|low| low * 0x0100_0000_0000_0001), 0_u32..4, 0..300),
            oldest in 0_u32..4,
        ) {
            let mut known = Known::default();
            let mut expected = HashMap::new();
            for (number, (low, seen)) in spellings.iter().enumerate() {
                let cell = u32::try_from(number).expect("few");
                for high in 0..3 {
                    known.insert(Fingerprint { low: *low, high }, *seen, cell, context());
                    expected.insert((*low, high), (*seen, cell));
                }
            }
            prop_assert_eq!(known.len(), expected.len());
            known.begin_sweep();
            let mut gone = 0;
            // Wrapped-around slots may be missed by one sweep, never taken wrongly.
            for _ in 0..4 {
                for _ in 0..=known.slots.len() / STEP {
                    known.sweep(oldest, |_| gone += 1);
                }
                known.begin_sweep();
            }
            for ((low, high), (seen, cell)) in expected {
                let found = known.find(Fingerprint { low, high }).map(|slot| slot.cell);
                prop_assert_eq!(found, (seen >= oldest).then_some(cell));
                gone -= i32::from(seen < oldest);
            }
            prop_assert_eq!(gone, 0);
        }
    }
}
