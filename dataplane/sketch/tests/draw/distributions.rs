//! Seeded values from known distributions, for tests and the bench alike.

/// The distributions that the rank bars are stated for.
pub(crate) const ALL: [Distribution; 5] = [
    Distribution::Uniform,
    Distribution::Lognormal,
    Distribution::Pareto,
    Distribution::Bimodal,
    Distribution::Constant,
];

/// A source of values; `Debug` is its name in tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Distribution {
    /// 0 to 1000.
    Uniform,
    /// exp(N(3, 1.5)): response times with a long tail.
    Lognormal,
    /// Shape 1.2: no variance, barely a mean.
    Pareto,
    /// N(10, 1), and N(1000, 50) for three in ten: hits and misses of a cache.
    Bimodal,
    /// One value.
    Constant,
}

/// `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let once = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let twice = (once ^ (once >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        twice ^ (twice >> 31)
    }

    /// Above 0 and below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// One value of a distribution.
    pub(crate) fn value(&mut self, from: Distribution) -> f64 {
        match from {
            Distribution::Uniform => 1000.0 * self.unit(),
            Distribution::Lognormal => (3.0 + 1.5 * self.normal()).exp(),
            Distribution::Pareto => self.unit().powf(-1.0 / 1.2),
            Distribution::Bimodal if self.unit() < 0.7 => 10.0 + self.normal(),
            Distribution::Bimodal => 1000.0 + 50.0 * self.normal(),
            Distribution::Constant => 42.1,
        }
    }

    /// `count` values of a distribution.
    pub(crate) fn values(&mut self, from: Distribution, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.value(from)).collect()
    }
}
