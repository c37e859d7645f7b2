//! A HyperLogLog of 2^14 registers that hold true ranks.
//!
//! Members are hashed, indexed and ranked exactly as the original does, so a register below saturation equals the
//! original's. The original stores four bits over a common base; here every register is a byte, so merging is a
//! maximum and nothing else: exactly associative, commutative and idempotent. Saturation exists only in
//! [`HyperLogLog::encode`]; [`HyperLogLog::saturated`] lists what that payload lost.
//!
//! A small set is a table of 32-bit keys of 25-bit precision, nearly exact, and hardly larger than the registers.

mod key;
mod keys;
mod metro;
mod payload;

pub use payload::HllError;

use key::Key;
use keys::Keys;

/// Register count, 2^14: the relative standard error of the estimate is about 1.04 / √16384 = 0.8 %.
const REGISTERS: usize = 1 << 14;

/// The highest rank a register can hold: 50 hash bits remain below the 14 that choose the register, plus one.
const MAX_RANK: u8 = 51;

/// Keys a sparse set may hold: as many as the bytes of the dense registers have room for.
const SPARSE_LIMIT: usize = REGISTERS / size_of::<Key>();

/// The number of distinct members of a set, within about 0.8 % (standard error), in at most 19 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HyperLogLog {
    registers: Registers,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Registers {
    /// At most [`SPARSE_LIMIT`].
    Sparse(Keys),
    Dense(Box<[u8; REGISTERS]>),
}

impl HyperLogLog {
    /// An empty set; allocates nothing.
    pub const fn new() -> Self {
        Self { registers: Registers::Sparse(Keys::EMPTY) }
    }

    /// Adds one member; adding it again changes nothing.
    pub fn insert(&mut self, member: &[u8]) {
        self.insert_hashed(Self::hash(member));
    }

    /// The hash of a member.
    #[inline]
    pub fn hash(member: &[u8]) -> u64 {
        metro::hash(member)
    }

    /// Something of what lies where the member of that hash will be put. Reading it for many sets before they are
    /// changed brings their memory into the cache for all at once.
    #[inline]
    pub fn peek(&self, hash: u64) -> u32 {
        match &self.registers {
            Registers::Dense(ranks) => ranks[dense_index(hash)].into(),
            Registers::Sparse(keys) => keys.peek(Key::of(hash)).bits(),
        }
    }

    /// Adds the member of that [`hash`](Self::hash).
    #[inline]
    pub fn insert_hashed(&mut self, hash: u64) {
        match &mut self.registers {
            Registers::Dense(ranks) => raise(ranks, dense_index(hash), dense_rank(hash)),
            Registers::Sparse(keys) => {
                keys.insert(Key::of(hash));
                if keys.len() > SPARSE_LIMIT {
                    self.densify();
                }
            }
        }
    }

    /// The union of both sets, register by register. Exactly associative, commutative and idempotent.
    pub fn merge(&mut self, other: &Self) {
        match &other.registers {
            _ if self.is_untouched() => self.clone_from(other),
            Registers::Sparse(others) => others.iter().for_each(|key| self.add(key)),
            Registers::Dense(others) => {
                let ranks = self.densify();
                ranks.iter_mut().zip(others.iter()).for_each(|(rank, &other)| *rank = other.max(*rank));
            }
        }
    }

    /// The number of distinct members.
    ///
    /// A sparse set counts linearly over its 2^25 possible keys. Dense registers use `LogLog`-Beta (Qin, Kim and Tung
    /// 2016) with the coefficients for 2^14 registers, which needs no correction at either end.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded, bounded, positive count")]
    pub fn estimate(&self) -> u64 {
        match &self.registers {
            Registers::Sparse(keys) => {
                let slots = f64::from(1 << key::PRECISION);
                (slots * (slots / (slots - keys.len() as f64)).ln()) as u64
            }
            Registers::Dense(ranks) => log_log_beta(ranks).round() as u64,
        }
    }

    /// Whether no member was ever added.
    pub fn is_empty(&self) -> bool {
        match &self.registers {
            Registers::Sparse(keys) => keys.len() == 0,
            Registers::Dense(ranks) => ranks.iter().all(|&rank| rank == 0),
        }
    }

    /// Whether this is as [`new`](Self::new) makes it, at a glance.
    fn is_untouched(&self) -> bool {
        matches!(&self.registers, Registers::Sparse(keys) if keys.len() == 0)
    }

    /// The true rank that `register` holds, 0 for none; `None` from register 2^14 up.
    pub fn rank(&self, register: u16) -> Option<u8> {
        match &self.registers {
            _ if usize::from(register) >= REGISTERS => None,
            Registers::Sparse(keys) => Some(
                keys.iter().filter(|key| key.register() == usize::from(register)).map(Key::rank).max().unwrap_or(0),
            ),
            Registers::Dense(ranks) => ranks.get(usize::from(register)).copied(),
        }
    }

    /// Raises a register to at least `rank`: how the pairs of [`HyperLogLog::saturated`] are read back.
    ///
    /// False, and nothing changed, when there is no such register or no hash can have that rank (1 to 51).
    pub fn raise(&mut self, register: u16, rank: u8) -> bool {
        let possible = usize::from(register) < REGISTERS && (1..=MAX_RANK).contains(&rank);
        if possible {
            raise(self.densify(), usize::from(register), rank);
        }
        possible
    }

    /// Bytes held, on the heap and in place.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.registers {
                Registers::Sparse(keys) => keys.size_bytes(),
                Registers::Dense(_) => REGISTERS,
            }
    }

    /// Bytes by which one more member may make this grow: 0 for most.
    pub fn grows(&self) -> usize {
        match &self.registers {
            Registers::Sparse(keys) if keys.len() < SPARSE_LIMIT => keys.grows(),
            // The table of keys leaves, and is larger than the registers.
            Registers::Sparse(_) | Registers::Dense(_) => 0,
        }
    }

    /// Turns keys into registers as soon as there are too many. The union of sets decides, not the order of merging.
    fn add(&mut self, key: Key) {
        match &mut self.registers {
            Registers::Dense(ranks) => raise(ranks, key.register(), key.rank()),
            Registers::Sparse(keys) => {
                keys.insert(key);
                if keys.len() > SPARSE_LIMIT {
                    self.densify();
                }
            }
        }
    }

    fn densify(&mut self) -> &mut [u8; REGISTERS] {
        if let Registers::Sparse(keys) = &self.registers {
            let mut ranks = Box::new([0; REGISTERS]);
            for key in keys.iter() {
                raise(&mut ranks, key.register(), key.rank());
            }
            self.registers = Registers::Dense(ranks);
        }
        match &mut self.registers {
            Registers::Dense(ranks) => ranks,
            Registers::Sparse(_) => unreachable!("sparse keys were replaced above"),
        }
    }
}

impl Default for HyperLogLog {
    fn default() -> Self {
        Self::new()
    }
}

/// The top 14 bits choose the register.
fn dense_index(hash: u64) -> usize {
    (hash >> 50) as usize
}

/// Leading zeros of the other 50 bits, plus one. The bit set below them ends the count at 51.
#[expect(clippy::cast_possible_truncation, reason = "at most 51")]
fn dense_rank(hash: u64) -> u8 {
    (hash << 14 | 1 << 13).leading_zeros() as u8 + 1
}

fn raise(ranks: &mut [u8; REGISTERS], register: usize, rank: u8) {
    ranks[register] = ranks[register].max(rank);
}

/// α·m·(m − z) / (Σ 2^−rank + β(z)), with z the number of untouched registers.
///
/// The original counts z over every even register twice and over no odd one; this counts each once.
fn log_log_beta(ranks: &[u8; REGISTERS]) -> f64 {
    // Powers 1 to 7 of ln(z + 1), after the coefficient of z itself; fitted by the authors for m = 2^14.
    const LINEAR: f64 = -0.370_393_911;
    const POWERS: [f64; 7] =
        [0.070_471_823, 0.173_936_86, 0.163_398_39, -0.092_377_45, 0.037_380_27, -0.005_384_159, 0.000_424_19];
    let mut histogram = [0_u32; MAX_RANK as usize + 1];
    for &rank in ranks {
        histogram[usize::from(rank)] += 1;
    }
    let registers = REGISTERS as f64;
    let untouched = f64::from(histogram[0]);
    // Smallest terms first: the sum is exact to the last bit for any realistic set.
    let harmonic = histogram.iter().rev().fold((0.0, 0.5_f64.powi(i32::from(MAX_RANK))), |(sum, unit), &count| {
        (sum + f64::from(count) * unit, unit * 2.0)
    });
    let log = untouched.ln_1p();
    let beta = LINEAR * untouched + POWERS.iter().rev().fold(0.0, |sum, power| (sum + power) * log);
    let alpha = 0.7213 / (1.0 + 1.079 / registers);
    alpha * registers * (registers - untouched) / (harmonic.0 + beta)
}
