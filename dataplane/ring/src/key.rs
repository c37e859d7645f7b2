//! Keys, and the hash that everything but the original's ring is made of.

use crate::{Algorithm, veneur};

/// What is routed, reduced to a number. Two keys that collide only share an owner. A key is of one algorithm, and means
/// nothing to a ring of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(crate) u64);

impl Key {
    /// The key of a context. `tags_joined` has to be canonical (sorted): that makes permuted tags one key.
    pub fn new(algorithm: Algorithm, name: &str, kind: &str, tags_joined: &str) -> Self {
        Self(match algorithm {
            Algorithm::Rendezvous => hash(CONTEXT, [name, kind, tags_joined]),
            Algorithm::Veneur => u64::from(veneur::crc([name, kind, tags_joined])),
        })
    }

    /// The key of a sender: all finished points of one origin go to one owner. With rendezvous hashing it is never the
    /// key of a context.
    pub fn origin(algorithm: Algorithm, sender: &str) -> Self {
        Self(match algorithm {
            Algorithm::Rendezvous => hash(ORIGIN, [sender]),
            Algorithm::Veneur => u64::from(veneur::crc([sender])),
        })
    }
}

/// First byte of what is hashed; keeps the key spaces apart.
const CONTEXT: u8 = b'c';
const ORIGIN: u8 = b'o';
pub(crate) const MEMBER: u8 = b'm';
/// The ring's space carries the algorithm and its version: change it with any change of [`hash`] or [`mix`].
pub(crate) const RENDEZVOUS_V1: u8 = 1;
pub(crate) const VENEUR_V1: u8 = 2;

/// Ends each field. No UTF-8 text contains this byte, so no two lists of fields are the same bytes.
const FIELD_END: u8 = 0xff;

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>), then [`mix`]. Fixed for ever: proxies of different
/// releases must agree on it, which `the_hash_never_changes` pins.
pub(crate) fn hash<'a>(space: u8, fields: impl IntoIterator<Item = &'a str>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(PRIME);
    let whole =
        fields.into_iter().fold(step(OFFSET, space), |state, field| step(field.bytes().fold(state, step), FIELD_END));
    mix(whole)
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): a bijection in which each input bit flips half the output.
/// FNV's high bits are weak on short input, and rendezvous compares high bits first.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        // Computed by an independent implementation of the definition above.
        let rendezvous = Algorithm::Rendezvous;
        assert_eq!(Key::new(rendezvous, "api.latency", "timer", "env:prod,zone:a").0, 0x98e0_88d1_1d13_3870);
        assert_eq!(Key::origin(rendezvous, "default/checkout-7d9").0, 0xa69b_6003_c51b_d310);
        assert_eq!(hash(MEMBER, ["veneur-global-0"]), 0x3fc8_0d2f_cc00_865b);
    }

    #[test]
    fn fields_do_not_run_together() {
        let key = |name, kind, tags| Key::new(Algorithm::Rendezvous, name, kind, tags);
        assert_ne!(key("ab", "c", ""), key("a", "bc", ""));
        assert_ne!(key("a", "", "b"), key("a", "b", ""));
    }
}
