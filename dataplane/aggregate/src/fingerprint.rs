//! The identity of a spelling: 96 bits that stand for name, kind and tags as received.
//!
//! A table recognises a line by this alone, without keeping its bytes: that saves a hundred bytes and a cache miss for
//! each context. Two of a million spellings share a fingerprint with probability 10^-17. The keys are random for each
//! process, so nobody outside can look for two that do.

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
        piece([keys[4], keys[0]], [keys[2], keys[5]], name.as_bytes())[0]
    }

    /// A hash of the whole context.
    pub(crate) fn hash(&self, context: &Context) -> u64 {
        let Self(keys) = self;
        let kind = kind_number(context.kind) | (context.scope as u64 + 1) << 8;
        let name = piece([keys[3], keys[4] ^ kind], [keys[0], keys[1]], context.name.as_bytes());
        let tags = piece([keys[2], keys[5]], [keys[3], keys[0]], context.tags.joined().as_bytes());
        fold(name[0] ^ tags[0].rotate_left(32), (name[1] ^ tags[1].rotate_left(32)) | 1)
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

/// 96 bits of a spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Fingerprint {
    pub(crate) low: u64,
    pub(crate) high: u32,
}

impl Fingerprint {
    /// The fingerprint of a sample's name, kind and tags, and of who sent it if that becomes part of the context.
    #[inline]
    pub(crate) fn of(Seed(keys): &Seed, sample: &Sample<'_>, by_origin: bool) -> Self {
        let kind = kind_number(sample.kind);
        // Independent chains, which a processor computes side by side.
        let name = piece([keys[0], keys[1] ^ kind], [keys[2], keys[3]], sample.name);
        let tags = piece([keys[4], keys[5]], [keys[1], keys[2]], sample.tags);
        let mut both = [fold(name[0] ^ tags[0].rotate_left(32), keys[5] | 1), name[1] ^ tags[1].rotate_left(32)];
        if by_origin {
            let origin = piece(both, [keys[0], keys[3]], sample.origin);
            both = [both[0] ^ origin[0], both[1] ^ origin[1]];
        }
        // The lower half of the second hash; the first is whole.
        #[expect(clippy::cast_possible_truncation, reason = "32 bits of it are wanted")]
        let high = fold(both[1], keys[4] | 1) as u32;
        Self { low: both[0], high }
    }
}

/// Two hashes of one text in one pass: folded multiplication, as in wyhash (Wang Yi) and foldhash, each under keys of
/// its own.
#[inline]
fn piece(start: [u64; 2], keys: [u64; 2], text: &[u8]) -> [u64; 2] {
    let [mut first, mut second] = start;
    let mut mix = |low: u64, high: u64| {
        first = fold(low ^ first, high ^ keys[0]);
        second = fold(high ^ second, low ^ keys[1]);
    };
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
    [fold(first ^ length as u64, keys[1] | 1), second ^ length as u64]
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
        let (mut low, mut high, mut all) = (HashSet::new(), HashSet::new(), 0);
        for number in 0..50_000 {
            for (name, tags) in [
                (format!("n{number}"), "t:1".to_owned()),
                ("a.longer.name.of.something".to_owned(), format!("env:prod,host:web-{number}")),
                (format!("{number}"), String::new()),
                (String::from("x"), format!("{number}")),
            ] {
                let Fingerprint { low: first, high: second } = of(&name, Kind::Counter, &tags);
                low.insert(first);
                high.insert(second);
                all += 1;
            }
        }
        assert_eq!(low.len(), all);
        // Of 200,000 draws from 2^32 about five collide by chance.
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
