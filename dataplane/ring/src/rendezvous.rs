//! Highest-random-weight (rendezvous) hashing, after Thaler and Ravishankar 1998.

use crate::key::{self, Key, mix};

/// Hash of each member's name. The member with the highest hash of (member, key) owns the key: finding it costs one mix
/// per member, some 2 ns. A loop without branches is slower: the compiler then multiplies in vectors, for which x86-64
/// has no 64-bit instruction before AVX-512.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seeds(Vec<u64>);

impl Seeds {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(|name| key::hash(key::MEMBER, [name])).collect())
    }

    /// Index of the owner.
    pub(crate) fn highest(&self, key: Key) -> Option<usize> {
        self.highest_among(key, |_| true)
    }

    /// Index of the owner among those `admitted`.
    pub(crate) fn highest_among(&self, key: Key, admitted: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        for (index, seed) in self.0.iter().enumerate() {
            let weight = mix(seed ^ key.0);
            // Strictly greater: of equal weights the first name wins.
            if best.is_none_or(|(highest, _)| weight > highest) && admitted(index) {
                best = Some((weight, index));
            }
        }
        best.map(|(_, index)| index)
    }
}
