//! Steps on the terminal: what runs now, for how long, and how long each took.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often a running step is shown: rewritten in place on a terminal, a new line elsewhere.
const REDRAW: Duration = Duration::from_millis(250);
const REPEAT: Duration = Duration::from_secs(15);

/// The clock and the voice of one command.
pub(crate) struct Progress {
    started: Instant,
    terminal: bool,
}

/// A running step, which may say where it is.
pub(crate) struct Step {
    detail: Mutex<String>,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), terminal: stderr().is_terminal() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// One line for the reader.
    pub(crate) fn say(&self, line: &str) {
        self.draw(&format!("  {line}"), '\n');
    }

    /// Runs one step and shows its name and elapsed time, while it runs and when it is done.
    pub(crate) fn step<T>(&self, name: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let step = Step { detail: Mutex::new(String::new()) };
        let outcome = thread::scope(|scope| {
            let (done, ended) = channel::<()>();
            let (step, pause) = (&step, if self.terminal { REDRAW } else { REPEAT });
            scope.spawn(move || {
                while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let detail = step.detail.lock().map(|detail| detail.clone()).unwrap_or_default();
                    let line = format!("… {name} {:.0} s {detail}", begun.elapsed().as_secs_f64());
                    self.draw(&line, if self.terminal { '\r' } else { '\n' });
                }
            });
            let outcome = work(step);
            drop(done);
            outcome
        });
        let mark = if outcome.is_ok() { '✓' } else { '✗' };
        self.draw(&format!("{mark} {name} {:.1} s", begun.elapsed().as_secs_f64()), '\n');
        outcome.with_context(|| format!("step {name:?} failed"))
    }

    fn draw(&self, line: &str, end: char) {
        let clear = if self.terminal { "\x1b[2K" } else { "" };
        // A closed stderr is no reason to stop the work.
        drop(write!(stderr().lock(), "{clear}{line}{end}"));
    }
}

impl Step {
    /// Replaces what is shown beside the step's name.
    pub(crate) fn detail(&self, text: String) {
        if let Ok(mut detail) = self.detail.lock() {
            *detail = text;
        }
    }
}
