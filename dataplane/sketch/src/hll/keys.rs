//! A set of keys, ascending, in a table that leaves gaps: a key lies at or after the slot that its bits point to, and
//! nothing but other keys lies between.
//!
//! Keys are hashes, so their size says where in the table they belong: finding one takes a few steps, and reading all
//! in order takes no sorting (ordered hash tables, Amble and Knuth 1974, with a hash that keeps the order).

use super::{Key, SPARSE_LIMIT};

/// Slots that keys point to when a sparse set is largest: an eighth more than keys, so that searches stay short.
const MOST_SLOTS: usize = SPARSE_LIMIT + SPARSE_LIMIT / 8;

/// All but one of two thousand keys are below this.
const USUAL: usize = 1 << 26;

/// Distinct keys, ascending.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// First those that keys point to, then a few that take what the others have no room for.
    slots: Vec<Key>,
    pointed: usize,
    count: u32,
    /// Whether the last slot is taken: asked before every insertion, so it is kept where that costs nothing.
    crowded: bool,
}

impl Keys {
    pub(super) const EMPTY: Self = Self { slots: Vec::new(), pointed: 0, count: 0, crowded: false };

    /// Empty, in the table that so many keys would have grown to.
    pub(super) fn with_room(count: usize) -> Self {
        let mut table = Self::EMPTY;
        while table.pointed < MOST_SLOTS && table.most() < count {
            table.pointed = next_pointed(table.pointed);
        }
        if count > 0 {
            table.slots = vec![Key::FREE; table.pointed + spare(table.pointed)];
        }
        table
    }

    /// What ascends, each key above the one before, in the table that so many keys would have grown to.
    pub(super) fn of_ascending(keys: &[Key]) -> Self {
        let (mut table, mut free) = (Self::with_room(keys.len()), 0);
        for &key in keys {
            // Nothing but other keys lies between the slot that it points to and the first that is free behind them.
            let at = free.max(table.first(key));
            table.insert_at(at, key);
            free = at + 1;
        }
        table
    }

    /// Adds a key, which may be there already.
    #[inline]
    pub(super) fn insert(&mut self, key: Key) {
        if let Err(at) = self.find(key) {
            self.insert_at(at, key);
        }
    }

    /// Ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = Key> + Clone {
        self.slots.iter().copied().filter(|&slot| slot != Key::FREE)
    }

    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Key>()
    }

    /// Bytes that one more key may take.
    pub(super) fn grows(&self) -> usize {
        let more = if self.is_full() {
            self.next_size().1 - self.slots.len()
        } else if self.crowded {
            spare(self.pointed)
        } else {
            0
        };
        more * size_of::<Key>()
    }

    /// What lies where the search for a key begins.
    #[inline]
    pub(super) fn peek(&self, key: Key) -> Key {
        self.slots.get(self.first(key)).copied().unwrap_or(Key::FREE)
    }

    #[inline]
    fn first(&self, key: Key) -> usize {
        (key.bits() as usize).min(USUAL - 1) * self.pointed / USUAL
    }

    /// Where the key is, or where it belongs.
    fn find(&self, key: Key) -> Result<usize, usize> {
        let first = self.first(key);
        let after = self.slots[first..].iter().position(|&slot| slot >= key || slot == Key::FREE);
        let at = after.map_or(self.slots.len(), |after| first + after);
        if self.slots.get(at) == Some(&key) { Ok(at) } else { Err(at) }
    }

    fn insert_at(&mut self, at: usize, key: Key) {
        if self.is_full() {
            let (pointed, slots) = self.next_size();
            let larger = Self { slots: vec![Key::FREE; slots], pointed, ..Self::EMPTY };
            std::mem::replace(self, larger).iter().for_each(|key| self.insert(key));
            // Not full now.
            return self.insert(key);
        }
        let gap = self.slots[at..].iter().position(|&slot| slot == Key::FREE).unwrap_or_else(|| {
            let (end, more) = (self.slots.len(), spare(self.pointed));
            self.slots.reserve_exact(more);
            self.slots.resize(end + more, Key::FREE);
            self.crowded = false;
            end - at
        });
        self.slots.copy_within(at..at + gap, at + 1);
        self.slots[at] = key;
        self.crowded |= at + gap + 1 == self.slots.len();
        self.count += 1;
    }

    fn is_full(&self) -> bool {
        self.pointed < MOST_SLOTS && self.len() == self.most()
    }

    /// Keys that may be in a table of this size.
    fn most(&self) -> usize {
        self.pointed - self.pointed / 8
    }

    /// Slots that keys point to in the next larger table, and all of its slots. Keys that crowd the end may do so there.
    fn next_size(&self) -> (usize, usize) {
        let pointed = next_pointed(self.pointed);
        let crowded = self.slots.len() - self.pointed;
        (pointed, pointed + spare(pointed).max(crowded + 1))
    }
}

/// Equal when the keys are: one set may lie in tables of several sizes.
impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for Keys {}

fn next_pointed(pointed: usize) -> usize {
    (2 * pointed).clamp(8, MOST_SLOTS)
}

fn spare(pointed: usize) -> usize {
    pointed / 64 + 1
}

#[cfg(test)]
mod tests {
    use super::super::metro;
    use super::{Key, Keys, SPARSE_LIMIT, spare};
    use std::collections::BTreeSet;

    fn check(keys: impl Iterator<Item = Key>) -> Keys {
        let (mut table, mut model) = (Keys::EMPTY, BTreeSet::new());
        for key in keys {
            let (size, grows) = (table.size_bytes(), table.grows());
            for _ in 0..2 {
                table.insert(key);
            }
            model.insert(key);
            assert!(table.size_bytes() <= size + grows, "{} bytes after {size} and {grows}", table.size_bytes());
            assert_eq!(table.len(), model.len());
        }
        assert!(table.iter().eq(model));
        table
    }

    #[test]
    fn a_table_holds_what_a_tree_holds() {
        let mut hashes = (0_u32..).map(|n| metro::hash(&n.to_le_bytes()));
        let table = check(hashes.by_ref().take(SPARSE_LIMIT).map(Key::of));
        assert!(table.size_bytes() <= 20_000, "{} bytes", table.size_bytes());
    }

    #[test]
    fn a_table_with_room_is_no_larger_than_one_that_grew() {
        for count in [0, 1, 7, 8, 56, 57, 1_000, SPARSE_LIMIT] {
            let mut hashes = (0_u32..).map(|n| metro::hash(&n.to_le_bytes()));
            let (mut grown, mut made) = (Keys::EMPTY, Keys::with_room(count));
            for key in hashes.by_ref().take(count).map(Key::of) {
                grown.insert(key);
                made.insert(key);
            }
            assert_eq!((&made, made.pointed), (&grown, grown.pointed));
            assert!(made.size_bytes() <= grown.size_bytes());
        }
    }

    #[test]
    fn a_table_of_ascending_keys_is_the_one_that_grew_of_them() {
        let ascending = |keys: &mut dyn Iterator<Item = Key>| {
            let grown = check(keys);
            let keys: Vec<Key> = grown.iter().collect();
            let (made, fits) = (Keys::of_ascending(&keys), grown.slots.len() == grown.pointed + spare(grown.pointed));
            assert_eq!((&made, made.pointed), (&grown, grown.pointed));
            assert!(!fits || (&made.slots, made.crowded) == (&grown.slots, grown.crowded));
            check(made.iter().chain((0..100_u32).map(|n| Key::of(metro::hash(&n.to_be_bytes())))));
            assert!(keys.iter().all(|key| made.find(*key).is_ok()), "every key is found");
        };
        for count in [0, 1, 7, 8, 56, 57, 1_000, SPARSE_LIMIT] {
            ascending(&mut (0_u32..).take(count).map(|n| Key::of(metro::hash(&n.to_le_bytes()))));
        }
        for first in CROWDED {
            ascending(&mut crowd(first));
        }
    }

    /// The last slots of the table, its middle, its first.
    const CROWDED: [u64; 3] = [u64::MAX << 50, 1 << 63, 0];

    /// Keys of hashes whose first 25 bits are few.
    fn crowd(first: u64) -> impl Iterator<Item = Key> {
        (0..2_000_u64).map(move |n| Key::of(first | n << 39 | (n * 7919) << 17))
    }

    #[test]
    fn keys_that_all_point_to_one_place_are_held_too() {
        for first in CROWDED {
            let table = check(crowd(first));
            assert!(table.size_bytes() <= 30_000, "{} bytes", table.size_bytes());
        }
    }
}
