//! MetroHash64 (J. Andrew Rogers, 2015) of one byte string, with the seed that the original uses.
//!
//! Written out because the `metrohash` crate reads members through raw pointers and in the host's byte order; it
//! remains the test oracle.

const SEED: u64 = 1337;

const K0: u64 = 0xD6D0_18F5;
const K1: u64 = 0xA2AA_033B;
const K2: u64 = 0x6299_2FC1;
const K3: u64 = 0x30BC_5B29;

pub(super) fn hash(member: &[u8]) -> u64 {
    seeded(member, SEED)
}

fn seeded(member: &[u8], seed: u64) -> u64 {
    let mut hash = seed.wrapping_add(K2).wrapping_mul(K0);
    let (blocks, mut rest) = member.as_chunks::<32>();
    if !blocks.is_empty() {
        hash = hash.wrapping_add(bulk(blocks, hash));
    }
    if let Some((lanes, tail)) = rest.split_first_chunk::<16>() {
        let (low, high) = lanes.split_at(8);
        let lane = |bytes| hash.wrapping_add(word(bytes).wrapping_mul(K2)).rotate_right(29).wrapping_mul(K3);
        let (mut a, mut b): (u64, u64) = (lane(low), lane(high));
        a ^= a.wrapping_mul(K0).rotate_right(21).wrapping_add(b);
        b ^= b.wrapping_mul(K3).rotate_right(21).wrapping_add(a);
        hash = hash.wrapping_add(b);
        rest = tail;
    }
    for (width, turn) in [(8, 55), (4, 26), (2, 48), (1, 37)] {
        if let Some((bytes, tail)) = rest.split_at_checked(width) {
            hash = hash.wrapping_add(word(bytes).wrapping_mul(K3));
            hash ^= hash.rotate_right(turn).wrapping_mul(K1);
            rest = tail;
        }
    }
    hash ^= hash.rotate_right(28);
    hash = hash.wrapping_mul(K0);
    hash ^ hash.rotate_right(29)
}

fn bulk(blocks: &[[u8; 32]], start: u64) -> u64 {
    let mut lanes = [start; 4];
    for block in blocks {
        for (lane, key) in [K0, K1, K2, K3].into_iter().enumerate() {
            let mixed = lanes[lane].wrapping_add(word(&block[lane * 8..lane * 8 + 8]).wrapping_mul(key));
            lanes[lane] = mixed.rotate_right(29).wrapping_add(lanes[(lane + 2) % 4]);
        }
    }
    let [mut a, mut b, mut c, mut d] = lanes;
    let fold = |x: u64, y: u64, z: u64, inside: u64, outside: u64| {
        x.wrapping_add(y).wrapping_mul(inside).wrapping_add(z).rotate_right(37).wrapping_mul(outside)
    };
    c ^= fold(a, d, b, K0, K1);
    d ^= fold(b, c, a, K1, K0);
    a ^= fold(a, c, d, K0, K1);
    b ^= fold(b, d, c, K1, K0);
    a ^ b
}

/// Up to eight bytes as a little-endian number.
fn word(bytes: &[u8]) -> u64 {
    let mut whole = [0; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(whole)
}

#[cfg(test)]
mod tests {
    use super::{hash, seeded};
    use std::hash::Hasher;

    #[test]
    fn hashes_equal_the_published_self_test() {
        let key = b"012345678901234567890123456789012345678901234567890123456789012";
        assert_eq!(seeded(key, 0).to_le_bytes(), [0x6B, 0x75, 0x3D, 0xAE, 0x06, 0x70, 0x4B, 0xAD]);
        assert_eq!(seeded(key, 1).to_le_bytes(), [0x3B, 0x0D, 0x48, 0x1C, 0xF4, 0xB9, 0xB8, 0xDF]);
    }

    #[test]
    fn hashes_equal_the_originals() {
        for (member, expected) in [
            ("test", 0xD286_D540_A174_AD5B),
            ("5", 0x8DBF_2FAE_7835_073A),
            ("123", 0x7E40_B2FB_A240_4750),
            ("2147483647", 0x8EC2_FAC8_0CEE_75E6),
            ("-2147483648", 0x9073_F7E3_DA13_2BDA),
            ("value", 0xA493_F771_FBD7_2BBF),
            ("foo", 0xB144_ADE8_2FCA_73CD),
            ("alice", 0x75A4_DC62_E3E9_E29A),
            ("", 0xE2F7_00C7_BE59_6C30),
            ("761", 0x464C_0027_E4BF_B270),
        ] {
            assert_eq!(hash(member.as_bytes()), expected, "{member:?}");
        }
    }

    #[test]
    fn hashes_of_every_length_equal_the_crates() {
        let bytes: Vec<u8> = (0..=255).map(|n: u8| n.wrapping_mul(167).wrapping_add(13)).collect();
        for length in 0..bytes.len() {
            let mut oracle = metrohash::MetroHash64::with_seed(super::SEED);
            oracle.write(&bytes[..length]);
            assert_eq!(hash(&bytes[..length]), oracle.finish(), "{length} bytes");
        }
    }
}
