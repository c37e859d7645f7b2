//! Ends a process whose flushes have stopped, because one that is started anew is of more use.

use std::{
    io,
    sync::mpsc::{self, RecvTimeoutError},
    thread::JoinHandle,
    time::Duration,
};

/// Exit code of a process that was ended so.
const STUCK: i32 = 1;

/// Looks in an interval.
const LOOKS: u32 = 4;

/// Looks beyond the time of the last flush that may be missed: flushes and looks are not in step.
const GRACE: u32 = LOOKS / 2;

/// A thread that looks again and again whether a flush has begun. It is no task: what keeps tasks from running must not
/// keep it from looking.
#[derive(Debug)]
pub struct Watchdog {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Counts looks without a flush.
///
/// It goes by looks and not by the time of the last flush: a machine that was asleep, or a process that was stopped for a
/// while, has missed nothing.
#[derive(Debug, Default)]
struct Missed {
    seen: u64,
    missed: u32,
}

impl Missed {
    /// How many looks in a row have found no new flush.
    fn look(&mut self, begun: u64) -> u32 {
        self.missed = if begun == self.seen { self.missed.saturating_add(1) } else { 0 };
        self.seen = begun;
        self.missed
    }
}

impl Watchdog {
    /// Looks at the count of flushes `begun`, and ends the process once `most` in a row have been missed, of which there
    /// is to be one each `interval`.
    pub fn start(interval: Duration, most: u32, begun: impl Fn() -> u64 + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("veneur-watchdog".to_owned()).spawn(move || {
            let mut missed = Missed { seen: begun(), missed: 0 };
            while stopped.recv_timeout(interval / LOOKS) == Err(RecvTimeoutError::Timeout) {
                if missed.look(begun()) >= most.saturating_mul(LOOKS).saturating_add(GRACE) {
                    tracing::error!(missed_flushes = most, ?interval, "No flush has started: ending the process");
                    std::process::exit(STUCK);
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The watchdog's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_looks_in_a_row_without_a_flush_count() {
        let mut missed = Missed::default();
        let looks: Vec<u32> = [0, 0, 1, 1, 1, 2, 9, 9].into_iter().map(|begun| missed.look(begun)).collect();
        assert_eq!(looks, [1, 2, 0, 1, 2, 0, 0, 1]);
    }
}
