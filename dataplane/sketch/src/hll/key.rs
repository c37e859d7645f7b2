//! The sparse form of one hashed member: 25 bits of index, and the rank where those bits do not already tell it.

use super::{MAX_RANK, dense_rank};

/// Index bits of a sparse key.
pub(super) const PRECISION: u32 = 25;

/// Index bits that a dense register drops: they are the first bits of its rank.
const EXTRA: u32 = PRECISION - 14;

/// One sparse key as the original writes it.
///
/// Even: the 25-bit index, shifted left once; its low 11 bits hold a one, which fixes the dense rank (1 to 11).
/// Odd: those 11 bits are zero; the index lies 7 bits up, and bits 1 to 6 hold the dense rank minus 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u32);

impl Key {
    /// What no hash makes.
    pub(super) const FREE: Self = Self(0);

    #[expect(clippy::cast_possible_truncation, reason = "25 bits remain after the shift")]
    pub(super) fn of(hash: u64) -> Self {
        let index = (hash >> (64 - PRECISION)) as u32;
        if index.trailing_zeros() >= EXTRA {
            Self(index << 7 | u32::from(dense_rank(hash) - EXTRA as u8) << 1 | 1)
        } else {
            Self(index << 1)
        }
    }

    /// Reads a key; `None` for bits that no hash produces.
    pub(super) fn from_bits(bits: u32) -> Option<Self> {
        let key = Self(bits);
        let possible = if bits & 1 == 1 {
            bits >> 7 & ((1 << EXTRA) - 1) == 0 && bits >> 1 & 63 != 0 && key.rank() <= MAX_RANK
        } else {
            bits >> (PRECISION + 1) == 0 && bits >> 1 & ((1 << EXTRA) - 1) != 0
        };
        possible.then_some(key)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }

    pub(super) fn register(self) -> usize {
        let index = if self.0 & 1 == 1 { self.0 >> 7 } else { self.0 >> 1 };
        (index >> EXTRA) as usize
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 63 + 11")]
    pub(super) fn rank(self) -> u8 {
        if self.0 & 1 == 1 {
            (self.0 >> 1 & 63) as u8 + EXTRA as u8
        } else {
            (self.0 << (32 - EXTRA - 1)).leading_zeros() as u8 + 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{dense_index, dense_rank, metro};
    use super::Key;

    #[test]
    fn a_key_tells_the_dense_register_and_rank() {
        for n in 0_u32..200_000 {
            let hash = metro::hash(&n.to_le_bytes());
            let key = Key::of(hash);
            assert_eq!((key.register(), key.rank()), (dense_index(hash), dense_rank(hash)), "{n}");
            assert_eq!(Key::from_bits(key.bits()), Some(key), "{n}");
        }
    }
}
