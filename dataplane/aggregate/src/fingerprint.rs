//! The identity of a spelling: 64 bits that stand for name, kind and tags as received.
//!
//! A table recognises a line by this alone, without keeping its bytes: that saves a hundred bytes and a cache miss for
//! each context. Two of a million spellings share a fingerprint with probability 3 · 10^-8. The keys are random for each
//! process, so nobody outside can look for two that do.

use std::num::NonZeroU64;

use veneur_metric::{Context, Kind, Sample};

/// Random keys, drawn once for each process.
#[derive(Debug, Clone, Copy)]
pub struct Seed([u64; 6]);

impl Seed {
    /// Keys for tests and benches, which are to be the same each time.
    pub const FIXED: Self = Self([
        0x9e37_79b9_7f4a_7c15,
        0xd1b5_4a32_d192_ed03,
        0x2545_f491_4f6c_dd1d,
        0x8cb9_2ba7_2f3d_8dd7,
        0x1405_7b7e_f767_814f,
        0xa076_1d64_78bd_642f,
    ]);

    /// Keys from 48 random bytes. Others make hashes collide.
    pub fn new(random: [u64; 6]) -> Self {
        Self(random)
    }

    /// A hash of a name alone.
    pub(crate) fn hash_name(&self, name: &str) -> u64 {
        let Self(keys) = self;
        piece(keys[4], [keys[2], keys[5]], name.as_bytes())
    }

    /// A hash of the whole context.
    pub(crate) fn hash(&self, context: &Context) -> u64 {
        let Self(keys) = self;
        let kind = kind_number(context.kind) | (context.scope as u64 + 1) << 8;
        let name = piece(keys[3] ^ kind, [keys[0], keys[1]], context.name.as_bytes());
        let tags = piece(keys[2], [keys[3], keys[0]], context.tags.joined().as_bytes());
        fold(name ^ tags.rotate_left(32), keys[4] | 1)
    }
}

/// A context and what is asked of it in every interval.
#[derive(Debug)]
pub(crate) struct Named {
    /// Of the whole context: [`Seed::hash`].
    pub(crate) hash: u64,
    /// Whether its distribution is kept in a sketch of relative error.
    pub(crate) relative: bool,
    pub(crate) context: Context,
}

impl Named {
    pub(crate) fn new(seed: &Seed, context: Context, relative: bool) -> Self {
        Self { hash: seed.hash(&context), relative, context }
    }
}

/// 64 bits of a spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(NonZeroU64);

impl Fingerprint {
    /// What a batch is filled up with.
    pub(crate) const NONE: Self = Self(NonZeroU64::MAX);

    /// The fingerprint of a sample's name, kind and tags, and of who sent it if that becomes part of the context.
    #[inline]
    pub(crate) fn of(Seed(keys): &Seed, sample: &Sample<'_>, by_origin: bool) -> Self {
        let kind = kind_number(sample.kind);
        // Independent chains, which a processor computes side by side.
        let name = piece(keys[0] ^ kind, [keys[2], keys[3]], sample.name);
        let tags = piece(keys[4], [keys[1], keys[2]], sample.tags);
        let mut both = fold(name ^ tags.rotate_left(32), keys[5] | 1);
        if by_origin {
            both ^= piece(keys[5], [keys[0], keys[3]], sample.origin);
        }
        Self::new(both)
    }

    /// Zero is one: it says "none" where fingerprints are kept.
    #[inline]
    pub(crate) fn new(bits: u64) -> Self {
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// Where it would like to be in a table of a power of two, of which this is the mask.
    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the bits that are there")]
    #[inline]
    pub(crate) fn home(self, mask: usize) -> usize {
        self.0.get() as usize & mask
    }
}

/// A hash of one text: folded multiplication, as in wyhash (Wang Yi) and foldhash.
#[inline]
fn piece(start: u64, keys: [u64; 2], text: &[u8]) -> u64 {
    let mut state = start;
    let mut mix = |low: u64, high: u64| state = fold(low ^ state, high ^ keys[0]);
    let length = text.len();
    if length >= 16 {
        let (blocks, rest) = text.as_chunks::<16>();
        for block in blocks {
            mix(word(block, 0), word(block, 8));
        }
        if !rest.is_empty()
            && let Some(last) = text.last_chunk::<16>()
        {
            mix(word(last, 0), word(last, 8));
        }
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        mix(u64::from_le_bytes(*head), u64::from_le_bytes(*tail));
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        mix(u32::from_le_bytes(*head).into(), u32::from_le_bytes(*tail).into());
    } else if let [head, .., tail] | [head @ tail] = text {
        mix(u64::from(*head), u64::from(text[length / 2]) << 8 | u64::from(*tail));
    }
    fold(state ^ length as u64, keys[1] | 1)
}

#[inline]
fn word(block: &[u8; 16], at: usize) -> u64 {
    u64::from_le_bytes(*block[at..].first_chunk().expect("a block has sixteen bytes"))
}

/// Both halves of the 128-bit product, folded into one.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

fn kind_number(kind: Kind) -> u64 {
    kind as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn of(name: &str, kind: Kind, tags: &str) -> Fingerprint {
        let sample = Sample { name: name.as_bytes(), tags: tags.as_bytes(), kind, ..Sample::NONE };
        Fingerprint::of(&Seed::FIXED, &sample, false)
    }

    #[test]
    fn what_differs_in_anything_differs_in_both_halves() {
        let (mut whole, mut low, mut high, mut all) = (HashSet::new(), HashSet::new(), HashSet::new(), 0);
        for number in 0..50_000 {
            for (name, tags) in [
                (format!("n{number}"), "t:1".to_owned()),
                ("a.longer.name.of.something".to_owned(), format!("env:prod,host:web-{number}")),
                (format!("{number}"), String::new()),
                (String::from("x"), format!("{number}")),
            ] {
                let Fingerprint(bits) = of(&name, Kind::Counter, &tags);
                whole.insert(bits);
                low.insert(bits.get() & u64::from(u32::MAX));
                high.insert(bits.get() >> 32);
                all += 1;
            }
        }
        assert_eq!(whole.len(), all);
        // Of 200,000 draws from 2^32 about five collide by chance.
        assert!(low.len() > all - 30, "{}", all - low.len());
        assert!(high.len() > all - 30, "{}", all - high.len());
    }

    #[test]
    fn the_border_between_name_and_tags_counts_and_so_does_the_kind() {
        assert_ne!(of("ab", Kind::Counter, "c"), of("a", Kind::Counter, "bc"));
        assert_ne!(of("a", Kind::Counter, "b"), of("b", Kind::Counter, "a"));
        assert_ne!(of("a", Kind::Counter, "b"), of("a", Kind::Gauge, "b"));
        assert_ne!(of("a\0", Kind::Counter, ""), of("a", Kind::Counter, ""));
    }

    #[test]
    fn who_sends_counts_only_where_it_becomes_part_of_the_context() {
        let from = |origin: &'static [u8], by_origin| {
            Fingerprint::of(&Seed::FIXED, &Sample { name: b"a", origin, ..Sample::NONE }, by_origin)
        };
        assert_eq!(from(b"c:1", false), from(b"c:2", false));
        assert_ne!(from(b"c:1", true), from(b"c:2", true));
    }
}
