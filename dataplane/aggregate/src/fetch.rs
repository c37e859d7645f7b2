//! Waiting for memory once for many.

use std::hint::black_box;

/// Reads these words, and so brings what they lie beside into the cache, all at once. Looking at each only when something
/// is done with it would wait for each alone: what to do with one decides where the processor looks for the next.
#[inline]
pub(crate) fn fetch(words: impl Iterator<Item = u64>) {
    black_box(words.fold(0, |seen, word| seen ^ word));
}
