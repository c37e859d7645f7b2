//! The spellings that a table knows, by fingerprint.
//!
//! Open addressing with linear probing: one cache line answers most questions. Spellings outlive the interval, so that a
//! client that goes on sending costs no allocation; those that have been idle for some intervals are swept out, a few
//! slots at a time.

use std::sync::Arc;

use crate::{
    fetch::fetch,
    fingerprint::{Fingerprint, Named},
    table::{BATCH, names_bytes},
};

/// Slots of the first table.
const FIRST: usize = 64;

/// Slots looked at in one step of sweeping.
const STEP: usize = 32;

/// A mark of no spelling.
const FREE: u32 = 0;

/// A spelling and where its value of this interval is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot {
    low: u64,
    /// The interval in which it was seen last.
    pub(crate) seen: u32,
    /// Index of its value in that interval.
    pub(crate) cell: u32,
    /// What it means; `None` in a free slot.
    named: Option<Arc<Named>>,
}

/// What a spelling takes of a table that is as full as it may be, or just was.
pub(crate) const SLOT_BYTES: usize = (size_of::<Slot>() + size_of::<u32>()) * 3 / 2;

/// The table of spellings.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Of each slot the upper part of its fingerprint. Sixteen share a cache line, so that looking for a slot takes
    /// little memory, and only the right one is looked at.
    marks: Vec<u32>,
    slots: Vec<Slot>,
    used: usize,
    /// The next slot to sweep; past the end when the sweep is over.
    hand: usize,
}

impl Known {
    /// Where the spellings of a batch seem to be. To be told to [`Known::at`] before anything else changes.
    ///
    /// Brings their slots into the cache, for all at once.
    #[inline]
    pub(crate) fn places(&self, fingerprints: &[Fingerprint], interval: u32) -> [u32; BATCH] {
        let mut places = [0; BATCH];
        let Some(mask) = self.slots.len().checked_sub(1) else { return places };
        fetch(fingerprints.iter().map(|fingerprint| self.marks[home(fingerprint.low, mask)].into()));
        for (place, fingerprint) in places.iter_mut().zip(fingerprints) {
            let (mark, mut at) = (mark(*fingerprint), home(fingerprint.low, mask));
            while self.marks[at] != mark && self.marks[at] != FREE {
                at = (at + 1) & mask;
            }
            *place = u32::try_from(at).expect("memory for four billion slots is never granted");
        }
        let slots = places[..fingerprints.len()].iter().map(|place| &self.slots[*place as usize]);
        fetch(slots.clone().map(|slot| slot.seen.into()));
        // What is new in an interval leads further.
        let named = slots.filter(|slot| slot.seen != interval).filter_map(|slot| slot.named.as_ref());
        fetch(named.map(|named| named.hash));
        places
    }

    /// The slot of a spelling, if it is where it seemed to be.
    #[inline]
    pub(crate) fn at(&self, place: u32, fingerprint: Fingerprint) -> Option<&Slot> {
        let place = place as usize;
        let slot = self.slots.get(place)?;
        (slot.low == fingerprint.low && self.marks[place] == mark(fingerprint)).then_some(slot)
    }

    /// The slot of a spelling and what it means, if it is known.
    pub(crate) fn find(&mut self, fingerprint: Fingerprint) -> Option<(&mut Slot, Arc<Named>)> {
        let at = self.place(fingerprint)?;
        let named = Arc::clone(self.slots[at].named.as_ref()?);
        Some((&mut self.slots[at], named))
    }

    /// Makes a spelling known, or known as something else; what it was charged for as that, else 0.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, seen: u32, cell: u32, named: Arc<Named>) -> usize {
        // Up to 13/16: probes stay short, and memory is half of what they would need to be shortest.
        if (self.used + 1) * 16 > self.slots.len() * 13 {
            self.grow();
        }
        let at = self.place(fingerprint).expect("the table has just been given room");
        self.marks[at] = mark(fingerprint);
        let before =
            std::mem::replace(&mut self.slots[at], Slot { low: fingerprint.low, seen, cell, named: Some(named) });
        self.used += usize::from(before.named.is_none());
        before.names_bytes()
    }

    /// Spellings known.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// What all spellings are charged for.
    pub(crate) fn names_bytes(&self) -> usize {
        self.slots.iter().map(Slot::names_bytes).sum()
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
            if self.marks[self.hand] != FREE && self.slots[self.hand].seen < oldest {
                gone(&self.slots[self.hand]);
                // What moves up into this place is looked at next.
                self.remove(self.hand);
            } else {
                self.hand += 1;
            }
        }
    }

    /// Where a spelling is, or the free slot where it would be. `None` only before the first insertion.
    fn place(&self, fingerprint: Fingerprint) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let (mark, mut at) = (mark(fingerprint), home(fingerprint.low, mask));
        while self.marks[at] != FREE && (self.marks[at] != mark || self.slots[at].low != fingerprint.low) {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(FIRST);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); size]);
        let old_marks = std::mem::replace(&mut self.marks, vec![FREE; size]);
        for (slot, mark) in old.into_iter().zip(old_marks).filter(|(_, mark)| *mark != FREE) {
            let at = self.place(Fingerprint { low: slot.low, high: mark }).expect("there are slots");
            self.slots[at] = slot;
            self.marks[at] = mark;
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
            self.marks[free] = FREE;
            loop {
                next = (next + 1) & mask;
                if self.marks[next] == FREE {
                    return;
                }
                let home = home(self.slots[next].low, mask);
                let stays = (next.wrapping_sub(home) & mask) < (next.wrapping_sub(free) & mask);
                if !stays {
                    break;
                }
            }
            self.slots[free] = std::mem::take(&mut self.slots[next]);
            self.marks[free] = self.marks[next];
            free = next;
        }
    }
}

impl Slot {
    /// What the spelling is charged for.
    pub(crate) fn names_bytes(&self) -> usize {
        self.named.as_deref().map_or(0, |named| names_bytes(&named.context))
    }
}

#[inline]
fn mark(fingerprint: Fingerprint) -> u32 {
    if fingerprint.high == FREE { 1 } else { fingerprint.high }
}

#[expect(clippy::cast_possible_truncation, reason = "the mask keeps the bits that are there")]
#[inline]
fn home(low: u64, mask: usize) -> usize {
    low as usize & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use veneur_metric::{Context, Kind, Scope, Tags};

    fn named() -> Arc<Named> {
        let context = Context { name: "a".into(), tags: Tags::none(), kind: Kind::Counter, scope: Scope::Mixed };
        Arc::new(Named::new(&Seed::FIXED, context, false))
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
                    known.insert(Fingerprint { low: *low, high: high * 7 }, *seen, cell, named());
                    expected.insert((*low, high * 7), (*seen, cell));
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
                let fingerprint = Fingerprint { low, high };
                let places = known.places(&[fingerprint], 0);
                let seemed = known.at(places[0], fingerprint).map(|slot| slot.cell);
                let found = known.find(fingerprint).map(|(slot, _)| slot.cell);
                prop_assert!(seemed.is_none() || seemed == found);
                prop_assert_eq!(found, (seen >= oldest).then_some(cell));
                gone -= i32::from(seen < oldest);
            }
            prop_assert_eq!(gone, 0);
        }
    }
}
