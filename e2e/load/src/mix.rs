//! What applications send: 40 % counters, 20 % gauges, 15 % timers, 15 % histograms, 10 % sets.
//!
//! A context is a number; its line follows from it, but for the value. Names are 20 to 30 bytes, a line 90 to 110.
//! Four tags stand in an order that is fixed for all and is not the alphabet's, as clients send them.

use std::io::Write as _;

use fastrand::Rng;

/// Contexts that share a name. The mix repeats with it: a name has one type.
const CONTEXTS_OF_A_NAME: u32 = 20;

/// Distinct members of a set.
const MEMBERS: u32 = 1_000;

pub(crate) const SERVICES: [&str; 8] =
    ["payments", "checkout", "inventory", "search", "accounts", "shipping", "recommend", "messages"];
pub(crate) const SUBJECTS: [&str; 8] =
    ["http.req", "db.query", "cache.hit", "queue.len", "rpc.call", "job.done", "conn.open", "disk.read"];
pub(crate) const REGIONS: [&str; 4] = ["eu-central-1", "eu-west-1", "us-east-1", "ap-south-1"];
pub(crate) const CODES: [&str; 5] = ["200", "204", "302", "404", "503"];

/// The type of a sample, as it stands in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `c`
    Counter,
    /// `g`
    Gauge,
    /// `ms`
    Timer,
    /// `h`
    Histogram,
    /// `s`
    Set,
}

impl Kind {
    /// All of them by their letters.
    pub const LETTERS: [(&str, Self); 5] =
        [("c", Self::Counter), ("g", Self::Gauge), ("ms", Self::Timer), ("h", Self::Histogram), ("s", Self::Set)];

    /// What the mix gives to a name.
    fn of_name(name: u32) -> Self {
        match name % 20 {
            0..8 => Self::Counter,
            8..12 => Self::Gauge,
            12..15 => Self::Timer,
            15..18 => Self::Histogram,
            _ => Self::Set,
        }
    }

    fn letters(self) -> &'static str {
        Self::LETTERS.iter().find(|(_, kind)| *kind == self).expect("each has letters").0
    }
}

/// Appends the line of `context`, with a value drawn from `rng` and without a line feed. Its type is the mix's, or the
/// one that is given.
pub fn write_line(context: u32, only: Option<Kind>, rng: &mut Rng, line: &mut Vec<u8>) {
    let name = context / CONTEXTS_OF_A_NAME;
    let service = pick(&SERVICES, name);
    let subject = pick(&SUBJECTS, name / 8);
    let kind = only.unwrap_or_else(|| Kind::of_name(name));
    let written = match kind {
        Kind::Counter => write!(line, "{service}.{subject}.{name:06}:{}", rng.u32(1..100)),
        Kind::Set => write!(line, "{service}.{subject}.{name:06}:user{:04}", rng.u32(..MEMBERS)),
        Kind::Gauge | Kind::Timer | Kind::Histogram => {
            // Most requests are fast and some are slow: heavier than normal, and never zero.
            let value = 2.0 + 400.0 * rng.f64().powi(6) + 10.0 * rng.f64();
            write!(line, "{service}.{subject}.{name:06}:{value:.2}")
        }
    };
    written.expect("writing to memory cannot fail");
    write!(
        line,
        "|{}|#service:{service},region:{},endpoint:h{context:08},code:{}",
        kind.letters(),
        pick(&REGIONS, context),
        pick(&CODES, context / 4),
    )
    .expect("writing to memory cannot fail");
}

pub(crate) fn pick(words: &[&'static str], number: u32) -> &'static str {
    let length = u32::try_from(words.len()).expect("the lists above are short");
    words[(number % length) as usize]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn lines(contexts: u32) -> Vec<String> {
        let mut rng = Rng::with_seed(7);
        let line = |context| {
            let mut line = Vec::new();
            write_line(context, None, &mut rng, &mut line);
            String::from_utf8(line).expect("lines are ASCII")
        };
        (0..contexts).map(line).collect()
    }

    #[test]
    fn the_mix_is_exact() {
        let mut kinds = BTreeMap::<String, u32>::new();
        for line in lines(10_000) {
            *kinds.entry(line.split('|').nth(1).expect("a type").to_owned()).or_default() += 1;
        }
        let expected = [("c", 4_000), ("g", 2_000), ("h", 1_500), ("ms", 1_500), ("s", 1_000)];
        assert_eq!(kinds, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    }

    #[test]
    fn contexts_are_distinct_and_lines_as_long_as_clients_send() {
        let lines = lines(20_000);
        let contexts: BTreeSet<(&str, &str)> = lines
            .iter()
            .map(|line| (line.split(':').next().expect("a name"), line.split('#').nth(1).expect("tags")))
            .collect();
        assert_eq!(contexts.len(), lines.len());
        assert!(contexts.iter().all(|(name, _)| (20..=30).contains(&name.len())), "{:?}", contexts.first());
        assert!(contexts.iter().all(|(_, tags)| tags.split(',').count() == 4));
        let mean = lines.iter().map(String::len).sum::<usize>() / lines.len();
        assert!((95..=105).contains(&mean), "{mean} bytes a line");
        assert!(lines.iter().all(|line| (85..=115).contains(&line.len())), "{lines:?}");
    }
}
