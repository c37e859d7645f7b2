//! A batch's samples by the list that their values are in.
//!
//! One loop over each list does the same for all of its samples: nothing has to be guessed, so what one of them waits
//! for from memory, the next ones wait for at the same time.

use veneur_metric::Kind;

use crate::table::BATCH;

/// A sample and its value.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry {
    /// Place in the batch.
    sample: u8,
    /// Place in the list of the sample's kind.
    pub(crate) cell: u32,
}

impl Entry {
    #[inline]
    pub(crate) fn sample(self) -> usize {
        usize::from(self.sample)
    }
}

/// Samples of a batch, in their order, by list.
#[derive(Debug)]
pub(crate) struct Lists {
    entries: [[Entry; BATCH]; LISTS],
    filled: [usize; LISTS],
}

const LISTS: usize = 4;

impl Lists {
    pub(crate) fn new() -> Self {
        Self { entries: [[Entry::default(); BATCH]; LISTS], filled: [0; LISTS] }
    }

    /// Adds the sample at a place of the batch.
    #[inline]
    pub(crate) fn add(&mut self, kind: Kind, sample: usize, cell: u32) {
        let list = list(kind);
        let sample = u8::try_from(sample).expect("a batch has fewer samples than a byte can say");
        self.entries[list][self.filled[list]] = Entry { sample, cell };
        self.filled[list] += 1;
    }

    /// The samples whose values are in the list of a kind; histograms and timers share one.
    #[inline]
    pub(crate) fn of(&self, kind: Kind) -> &[Entry] {
        let list = list(kind);
        &self.entries[list][..self.filled[list]]
    }
}

#[inline]
fn list(kind: Kind) -> usize {
    match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram | Kind::Timer => 2,
        Kind::Set => 3,
    }
}
