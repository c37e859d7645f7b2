//! The original's bytes: version, precision, base and form, then sparse keys or four-bit registers.
//!
//! ```text
//! byte 0 version (1), byte 1 precision (14), byte 2 base b, byte 3 form (1 sparse, 0 dense)
//! sparse: u32be n, n × u32be keys in any order; u32be count, u32be last, u32be length, then length bytes of
//!         ascending keys as varint differences (seven bits a byte, low bits first, the top bit says more follow)
//! dense:  u32be 8192, then 8192 bytes; byte j holds registers 2j (high nibble) and 2j + 1; rank = b + nibble
//! ```

use super::{HyperLogLog, Key, Keys, MAX_RANK, REGISTERS, Registers, SPARSE_LIMIT};

const VERSION: u8 = 1;
const PRECISION: u8 = 14;
const SPARSE: u8 = 1;
const DENSE: u8 = 0;

/// The most a nibble holds.
const NIBBLE: u8 = 15;

/// The original keeps up to this many keys unsorted and sends them so; beyond, they are a list of differences.
const UNSORTED_LIMIT: usize = REGISTERS / 100;

/// Keys accepted from a sender. The original's list never passes 16 KiB, so neither part can hold more than this.
const KEYS_LIMIT: usize = REGISTERS;

/// Why a set's payload was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HllError {
    /// The payload ends inside the part named.
    #[error("set payload ends inside its {0}: send the whole payload")]
    Truncated(&'static str),
    /// Bytes follow the last part.
    #[error("set payload has {0} bytes after its end: send one set in a payload")]
    Trailing(usize),
    /// Another register count: registers of different precision do not merge.
    #[error("set payload has precision {0}: only 14 can be merged")]
    Precision(u8),
    /// The form byte is neither dense nor sparse.
    #[error("set payload has form {0}: it must be 0 (dense) or 1 (sparse)")]
    Form(u8),
    /// A length that contradicts the precision or the original's own bound.
    #[error("set payload announces {found} {what}: {limit} fit")]
    Length {
        /// What is counted.
        what: &'static str,
        /// The number announced.
        found: u32,
        /// The number that is possible.
        limit: usize,
    },
    /// A sparse key that no member hashes to.
    #[error("set payload has key {0:#010x}: no member hashes to it")]
    Key(u32),
    /// The list of differences does not ascend, overflows, or contradicts its own header.
    #[error("set payload's key list contradicts its header or does not ascend: send ascending distinct keys")]
    List,
    /// A register above what 50 hash bits can give.
    #[error("set payload has rank {0}: 51 is the highest a hash can have")]
    Rank(u8),
}

impl HyperLogLog {
    /// The original's payload.
    ///
    /// Sparse sets are carried whole. Dense registers are four bits above a common base: the base is 0, or the lowest
    /// register once some rank passes 15, and a rank more than 15 above it is written as base + 15
    /// ([`HyperLogLog::saturated`] lists those).
    pub fn encode(&self) -> Vec<u8> {
        match &self.registers {
            Registers::Sparse(keys) => encode_sparse(keys),
            Registers::Dense(ranks) => {
                let base = base(ranks);
                let mut payload = Vec::with_capacity(8 + REGISTERS / 2);
                payload.extend([VERSION, PRECISION, base, DENSE]);
                payload.extend(be32(REGISTERS / 2));
                let nibble = |rank: u8| (rank - base).min(NIBBLE);
                payload.extend(ranks.as_chunks::<2>().0.iter().map(|&[even, odd]| nibble(even) << 4 | nibble(odd)));
                payload
            }
        }
    }

    /// Reads the original's payload. Keys may come in any order and in both parts; the version byte is not checked,
    /// as no reader in the field does.
    ///
    /// # Errors
    /// Every length, key and rank is checked before anything is allocated for it.
    pub fn decode(payload: &[u8]) -> Result<Self, HllError> {
        let mut decoded = Self::new();
        match read(payload)? {
            Form::Sparse(keys) => {
                // As senders of ours list them, and the original lists all but its newest.
                if keys.len() <= SPARSE_LIMIT && keys.is_sorted_by(|one, next| one < next) {
                    decoded.registers = Registers::Sparse(Keys::of_ascending(&keys));
                } else {
                    decoded.registers = Registers::Sparse(Keys::with_room(keys.len()));
                    keys.into_iter().for_each(|key| decoded.add(key));
                }
            }
            Form::Dense { base, packed } => {
                let mut ranks = Box::new([0; REGISTERS]);
                for (pair, &byte) in ranks.as_chunks_mut::<2>().0.iter_mut().zip(packed) {
                    *pair = [base + (byte >> 4), base + (byte & NIBBLE)];
                }
                decoded.registers = Registers::Dense(ranks);
            }
        }
        Ok(decoded)
    }

    /// Whether [`decode`](Self::decode) would read this payload, without making a set of it.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn check(payload: &[u8]) -> Result<(), HllError> {
        read(payload).map(drop)
    }

    /// Registers whose true rank [`HyperLogLog::encode`] cannot carry, as (register, rank), ascending by register.
    /// Always empty for a sparse set.
    #[expect(clippy::cast_possible_truncation, reason = "registers are numbered below 2^14")]
    pub fn saturated(&self) -> Vec<(u16, u8)> {
        match &self.registers {
            Registers::Sparse(_) => Vec::new(),
            Registers::Dense(ranks) => {
                let highest = base(ranks) + NIBBLE;
                let all = ranks.iter().enumerate();
                all.filter(|&(_, &rank)| rank > highest).map(|(register, &rank)| (register as u16, rank)).collect()
            }
        }
    }
}

fn base(ranks: &[u8; REGISTERS]) -> u8 {
    let lowest = ranks.iter().copied().min().unwrap_or(0);
    if ranks.iter().any(|&rank| rank > NIBBLE) { lowest } else { 0 }
}

fn encode_sparse(keys: &Keys) -> Vec<u8> {
    let (unsorted, listed) = if keys.len() <= UNSORTED_LIMIT { (keys.len(), 0) } else { (0, keys.len()) };
    let mut payload = Vec::with_capacity(20 + 4 * keys.len());
    payload.extend([VERSION, PRECISION, 0, SPARSE]);
    payload.extend(be32(unsorted));
    payload.extend(keys.iter().take(unsorted).flat_map(|key| key.bits().to_be_bytes()));
    let mut list = Vec::with_capacity(4 * listed);
    let mut last = 0;
    for key in keys.iter().take(listed) {
        push_varint(&mut list, key.bits() - last);
        last = key.bits();
    }
    payload.extend(be32(listed));
    payload.extend(last.to_be_bytes());
    payload.extend(be32(list.len()));
    payload.extend(list);
    payload
}

/// A payload whose every part is possible.
enum Form<'a> {
    Sparse(Vec<Key>),
    Dense { base: u8, packed: &'a [u8] },
}

fn read(payload: &[u8]) -> Result<Form<'_>, HllError> {
    let mut rest = Reader(payload);
    let [_, precision, base, form] = *rest.array("header")?;
    if precision != PRECISION {
        return Err(HllError::Precision(precision));
    }
    let form = match form {
        SPARSE => Form::Sparse(read_sparse(&mut rest)?),
        DENSE => Form::Dense { base, packed: read_dense(&mut rest, base)? },
        other => return Err(HllError::Form(other)),
    };
    if !rest.0.is_empty() {
        return Err(HllError::Trailing(rest.0.len()));
    }
    Ok(form)
}

fn read_sparse(rest: &mut Reader) -> Result<Vec<Key>, HllError> {
    let unsorted = rest.length("unsorted keys", KEYS_LIMIT)?;
    let unsorted = rest.bytes(4 * unsorted, "unsorted keys")?.as_chunks::<4>().0;
    let count = rest.length("listed keys", KEYS_LIMIT)?;
    let last = u32::from_be_bytes(*rest.array("last listed key")?);
    let bytes = rest.length("bytes of listed keys", REGISTERS + 5)?;
    let mut list = rest.bytes(bytes, "listed keys")?;

    let mut keys = Vec::with_capacity(unsorted.len() + count.min(bytes));
    for bits in unsorted {
        let bits = u32::from_be_bytes(*bits);
        keys.push(Key::from_bits(bits).ok_or(HllError::Key(bits))?);
    }
    let mut previous = 0;
    while !list.is_empty() {
        let step = take_varint(&mut list).filter(|&step| step > 0).ok_or(HllError::List)?;
        previous = u32::checked_add(previous, step).ok_or(HllError::List)?;
        keys.push(Key::from_bits(previous).ok_or(HllError::Key(previous))?);
    }
    if keys.len() != unsorted.len() + count || previous != last {
        return Err(HllError::List);
    }
    Ok(keys)
}

/// The registers, none of them above what is possible.
fn read_dense<'a>(rest: &mut Reader<'a>, base: u8) -> Result<&'a [u8], HllError> {
    let found = u32::from_be_bytes(*rest.array("register length")?);
    if found as usize != REGISTERS / 2 {
        return Err(HllError::Length { what: "bytes of registers", found, limit: REGISTERS / 2 });
    }
    let packed = rest.bytes(REGISTERS / 2, "registers")?;
    let rank = |nibble: u8| base.saturating_add(nibble);
    if rank(NIBBLE) > MAX_RANK
        && let Some(high) = packed.iter().flat_map(|byte| [byte >> 4, byte & NIBBLE]).find(|&at| rank(at) > MAX_RANK)
    {
        return Err(HllError::Rank(rank(high)));
    }
    Ok(packed)
}

/// The unread end of a payload; every step says what it was reading.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize, part: &'static str) -> Result<&'a [u8], HllError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(HllError::Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array(&mut self, part: &'static str) -> Result<&'a [u8; 4], HllError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(HllError::Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    fn length(&mut self, what: &'static str, limit: usize) -> Result<usize, HllError> {
        let found = u32::from_be_bytes(*self.array(what)?);
        if found as usize > limit { Err(HllError::Length { what, found, limit }) } else { Ok(found as usize) }
    }
}

/// A length of ours: bounded by the register count, so four bytes hold it.
fn be32(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("lengths are bounded by the register count").to_be_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn push_varint(list: &mut Vec<u8>, mut value: u32) {
    while value > 0x7F {
        list.push(value as u8 | 0x80);
        value >>= 7;
    }
    list.push(value as u8);
}

/// `None` when the bytes end inside the number or it passes 32 bits.
fn take_varint(list: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = list.split_first()?;
        *list = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return u32::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{HyperLogLog, push_varint, take_varint};

    #[test]
    fn varints_of_every_width_return() {
        for value in (0..32).flat_map(|bit| [1_u32 << bit, (1 << bit) - 1]).chain([u32::MAX]) {
            let mut list = Vec::new();
            push_varint(&mut list, value);
            assert_eq!(take_varint(&mut &list[..]), Some(value));
        }
    }

    #[test]
    fn a_long_list_of_members_returns() {
        let mut set = HyperLogLog::new();
        (0..4_000_u32).for_each(|n| set.insert(&n.to_le_bytes()));
        assert_eq!(HyperLogLog::decode(&set.encode()), Ok(set));
    }
}
