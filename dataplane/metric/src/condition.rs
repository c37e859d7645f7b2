//! Something that is wrong for a while.

/// Tells when something wrong begins and when it is over, however often it is met between, so that a log has two lines
/// for it and not thousands.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Looks without it after which it is over.
    quiet: u32,
    left: u32,
    times: u64,
}

/// What a look has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has just begun.
    Begun,
    /// It is over.
    Over {
        /// How often it was met since it began.
        times: u64,
    },
}

impl Condition {
    /// One that is not met yet, and that is over after `quiet` looks in a row without it (at least one).
    pub const fn new(quiet: u32) -> Self {
        Self { quiet, left: 0, times: 0 }
    }

    /// Takes a look: it was met so many `times` since the last one.
    pub fn look(&mut self, times: u64) -> Option<Turn> {
        if times > 0 {
            let begins = !self.lasts();
            self.times = self.times.saturating_add(times);
            self.left = self.quiet.max(1);
            return begins.then_some(Turn::Begun);
        }
        if !self.lasts() {
            return None;
        }
        self.left -= 1;
        if self.lasts() { None } else { Some(Turn::Over { times: std::mem::take(&mut self.times) }) }
    }

    /// Whether it has begun and is not over.
    pub fn lasts(&self) -> bool {
        self.left > 0
    }
}

/// One that is over as soon as a look does not meet it.
impl Default for Condition {
    fn default() -> Self {
        Self::new(1)
    }
}
