//! Datagrams in memory: every context once a pass, in an order drawn anew for each pass.

use fastrand::Rng;

use crate::mix::{self, Kind};

/// Most bytes of datagrams held at once. What is larger is built in blocks while it is sent.
const MEMORY: usize = 128 << 20;

/// About what a line takes, to know before building what a pass will take.
const LINE: usize = 104;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Distinct contexts, each visited once a pass.
    pub contexts: u32,
    /// Lines in a datagram.
    pub lines: usize,
    /// One type instead of the mix.
    pub only: Option<Kind>,
    /// What order and values are drawn from.
    pub seed: u64,
}

/// Datagrams, one behind the other.
#[derive(Debug, Default)]
pub struct Packets {
    bytes: Vec<u8>,
    /// Where each ends, and the samples up to there.
    ends: Vec<(usize, u64)>,
}

impl Packets {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The datagram of this number.
    pub fn get(&self, number: usize) -> &[u8] {
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before].0);
        &self.bytes[begin..self.ends[number].0]
    }

    /// Samples in the datagrams before this number.
    pub fn samples_before(&self, number: usize) -> u64 {
        number.checked_sub(1).map_or(0, |before| self.ends[before].1)
    }

    fn add(&mut self, contexts: &[u32], only: Option<Kind>, rng: &mut Rng) {
        for (nth, context) in contexts.iter().enumerate() {
            if nth > 0 {
                self.bytes.push(b'\n');
            }
            mix::write_line(*context, only, rng, &mut self.bytes);
        }
        let samples = self.samples_before(self.len()) + contexts.len() as u64;
        self.ends.push((self.bytes.len(), samples));
    }
}

/// An endless source of blocks of datagrams.
#[derive(Debug)]
pub struct Source {
    load: Load,
    rng: Rng,
    order: Vec<u32>,
    /// Contexts of this pass that were handed out.
    done: usize,
    /// All there is, where it fits in memory.
    whole: bool,
    /// Most contexts in a block, where it does not.
    part: usize,
    block: Packets,
}

impl Source {
    /// Builds as many passes as fit in memory; they are sent again and again. Where not even one fits, each block is
    /// built when it is asked for.
    pub fn new(load: Load) -> Self {
        Self::within(load, MEMORY)
    }

    fn within(load: Load, bytes: usize) -> Self {
        let order = (0..load.contexts).collect();
        let lines = load.lines.max(1);
        // Whole datagrams, so that blocks leave no short ones behind.
        let part = (bytes / LINE / 8).next_multiple_of(lines);
        let rng = Rng::with_seed(load.seed);
        let mut source = Self { load, rng, order, done: 0, whole: true, part, block: Packets::default() };
        let passes = bytes / (load.contexts as usize * LINE).max(1);
        for _ in 0..passes.min(128) {
            source.rng.shuffle(&mut source.order);
            source.build(0, load.contexts as usize);
        }
        source.whole = passes > 0;
        source
    }

    /// The next block.
    pub fn next_block(&mut self) -> &Packets {
        if !self.whole {
            if self.done == 0 {
                self.rng.shuffle(&mut self.order);
            }
            let end = (self.done + self.part).min(self.order.len());
            self.block = Packets::default();
            self.build(self.done, end);
            self.done = if end == self.order.len() { 0 } else { end };
        }
        &self.block
    }

    fn build(&mut self, begin: usize, end: usize) {
        for contexts in self.order[begin..end].chunks(self.load.lines.max(1)) {
            self.block.add(contexts, self.load.only, &mut self.rng);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_pass_visits_every_context_once_in_another_order_each() {
        let mut source = Source::new(Load { contexts: 1_000, lines: 20, only: None, seed: 1 });
        let block = source.next_block();
        let pass = |pass: usize| -> Vec<String> {
            let packets = (pass * 50..(pass + 1) * 50).map(|number| block.get(number));
            let text: Vec<_> = packets.map(|packet| String::from_utf8_lossy(packet).into_owned()).collect();
            text.iter()
                .flat_map(|text| text.lines().map(|line| line.split('#').nth(1).expect("tags").to_owned()))
                .collect()
        };
        let (first, second) = (pass(0), pass(1));
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 1_000);
        assert_ne!(first, second);
        assert_eq!(first.iter().collect::<BTreeSet<_>>(), second.iter().collect());
        assert_eq!(block.samples_before(50), 1_000);
    }

    #[test]
    fn the_same_seed_sends_the_same_bytes() {
        let load = Load { contexts: 400, lines: 7, only: None, seed: 3 };
        let (mut one, mut other) = (Source::new(load), Source::new(load));
        assert_eq!(one.next_block().get(5), other.next_block().get(5));
        let mut another = Source::new(Load { seed: 4, ..load });
        assert_ne!(one.next_block().get(5), another.next_block().get(5));
    }

    #[test]
    fn more_contexts_than_memory_come_in_blocks_and_none_twice() {
        let contexts = 10_000;
        let mut source = Source::within(Load { contexts, lines: 16, only: None, seed: 1 }, 400_000);
        let (mut samples, mut packets) = (0, 0);
        while samples < u64::from(contexts) {
            let block = source.next_block();
            samples += block.samples_before(block.len());
            packets += block.len();
        }
        assert_eq!((samples, packets, source.done), (u64::from(contexts), 625, 0));
    }
}
