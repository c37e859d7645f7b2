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

/// A spelling and where its value of this interval is: sixteen bytes, so that four share a cache line, and looking one up
/// mostly waits for memory once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    /// `None` where the slot is free.
    fingerprint: Option<Fingerprint>,
    /// The interval in which it was seen last.
    pub(crate) seen: u32,
    /// Index of its value in that interval.
    pub(crate) cell: u32,
}

/// What a spelling takes of a table that is as full as it may be, or just was.
pub(crate) const SLOT_BYTES: usize = (size_of::<Slot>() + size_of::<Option<Arc<Named>>>()) * 3 / 2;

/// The table of spellings.
#[derive(Debug, Default)]
pub(crate) struct Known {
    slots: Vec<Slot>,
    /// What the spelling in each slot means: asked once in an interval, so kept where it is in nobody's way.
    named: Vec<Option<Arc<Named>>>,
    used: usize,
    /// The next slot to sweep; past the end when the sweep is over.
    hand: usize,
}

impl Known {
    /// The slots of a batch's spellings, where they are known.
    ///
    /// Brings all of them into the cache first, and what they mean where this interval has not seen them yet.
    #[inline]
    pub(crate) fn look_up(&self, fingerprints: &[Fingerprint], interval: u32) -> [Option<Slot>; BATCH] {
        let mut found = [None; BATCH];
        let Some(mask) = self.slots.len().checked_sub(1) else { return found };
        fetch(fingerprints.iter().map(|fingerprint| self.slots[fingerprint.home(mask)].seen.into()));
        let mut strange = 0;
        let mut strangers = [0; BATCH];
        for (found, fingerprint) in found.iter_mut().zip(fingerprints) {
            let mut at = fingerprint.home(mask);
            let mut slot = self.slots[at];
            while slot.fingerprint != Some(*fingerprint) && slot.fingerprint.is_some() {
                at = (at + 1) & mask;
                slot = self.slots[at];
            }
            if slot.fingerprint.is_some() {
                *found = Some(slot);
                strangers[strange] = at;
                strange += usize::from(slot.seen != interval);
            }
        }
        if strange > 0 {
            let named = || strangers[..strange].iter().map(|at| &self.named[*at]);
            fetch(named().map(|named| named.is_some().into()));
            fetch(named().flatten().map(|named| named.hash));
        }
        found
    }

    /// The slot of a spelling and what it means, if it is known.
    pub(crate) fn find(&mut self, fingerprint: Fingerprint) -> Option<(&mut Slot, Arc<Named>)> {
        let at = self.place(fingerprint)?;
        let named = Arc::clone(self.named[at].as_ref()?);
        Some((&mut self.slots[at], named))
    }

    /// Makes a spelling known, or known as something else; what it was charged for as that, else 0.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint, seen: u32, cell: u32, named: Arc<Named>) -> usize {
        // Up to 13/16: probes stay short, and memory is half of what they would need to be shortest.
        if (self.used + 1) * 16 > self.slots.len() * 13 {
            self.grow();
        }
        let at = self.place(fingerprint).expect("the table has just been given room");
        self.slots[at] = Slot { fingerprint: Some(fingerprint), seen, cell };
        let before = self.named[at].replace(named);
        self.used += usize::from(before.is_none());
        before.as_deref().map_or(0, charge)
    }

    /// Spellings known.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// What all spellings are charged for.
    pub(crate) fn names_bytes(&self) -> usize {
        self.named.iter().flatten().map(|named| charge(named)).sum()
    }

    /// Begins a new sweep.
    pub(crate) fn begin_sweep(&mut self) {
        self.hand = 0;
    }

    /// Looks at the next few slots and takes out those last seen before `oldest`; `gone` learns what each was charged for.
    #[inline]
    pub(crate) fn sweep(&mut self, oldest: u32, gone: impl FnMut(usize)) {
        if self.hand < self.slots.len() {
            self.sweep_step(oldest, gone);
        }
    }

    fn sweep_step(&mut self, oldest: u32, mut gone: impl FnMut(usize)) {
        let end = (self.hand + STEP).min(self.slots.len());
        while self.hand < end {
            let Slot { fingerprint, seen, .. } = self.slots[self.hand];
            if fingerprint.is_some() && seen < oldest {
                gone(self.named[self.hand].as_deref().map_or(0, charge));
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
        let mut at = fingerprint.home(mask);
        while self.slots[at].fingerprint.is_some_and(|other| other != fingerprint) {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(FIRST);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); size]);
        let old_named = std::mem::replace(&mut self.named, vec![None; size]);
        for (slot, named) in old.into_iter().zip(old_named) {
            let Some(fingerprint) = slot.fingerprint else { continue };
            let at = self.place(fingerprint).expect("there are slots");
            self.slots[at] = slot;
            self.named[at] = named;
        }
        self.hand = self.hand.min(self.slots.len());
    }

    /// Frees a slot, and moves up those behind it that it kept from their place (Knuth, volume 3, algorithm 6.4 R).
    fn remove(&mut self, mut free: usize) {
        let mask = self.slots.len() - 1;
        self.used -= 1;
        let mut next = free;
        loop {
            (self.slots[free], self.named[free]) = (Slot::default(), None);
            loop {
                next = (next + 1) & mask;
                let Some(fingerprint) = self.slots[next].fingerprint else { return };
                let home = fingerprint.home(mask);
                let stays = (next.wrapping_sub(home) & mask) < (next.wrapping_sub(free) & mask);
                if !stays {
                    break;
                }
            }
            (self.slots[free], self.named[free]) = (self.slots[next], self.named[next].take());
            free = next;
        }
    }
}

/// What a spelling is charged for.
fn charge(named: &Named) -> usize {
    names_bytes(&named.context)
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
            spellings in prop::collection::hash_map((0_u64..40, 0_u64..4), 0_u32..4, 0..300),
            oldest in 0_u32..4,
        ) {
            let mut known = Known::default();
            let mut expected = HashMap::new();
            for (number, ((home, other), seen)) in spellings.into_iter().enumerate() {
                let cell = u32::try_from(number).expect("few");
                let fingerprint = Fingerprint::new(home * 0x0100_0000_0000_0001 + (other << 40));
                known.insert(fingerprint, seen, cell, named());
                expected.insert(fingerprint, (seen, cell));
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
            for (fingerprint, (seen, cell)) in expected {
                let looked_up = known.look_up(&[fingerprint], 0)[0].map(|slot| slot.cell);
                let found = known.find(fingerprint).map(|(slot, _)| slot.cell);
                prop_assert_eq!(looked_up, found);
                prop_assert_eq!(found, (seen >= oldest).then_some(cell));
                gone -= i32::from(seen < oldest);
            }
            prop_assert_eq!(gone, 0);
        }
    }
}
