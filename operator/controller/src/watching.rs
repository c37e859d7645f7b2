//! How a watch does: whether it has listed what there is, and since when it fails. For those on which injection lives,
//! which are not of the objects of pipelines ([`crate::live`]).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::runtime::watcher::Event;

/// How one watch does; clones are of the same one.
#[derive(Debug, Clone, Default)]
pub struct Watching(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    listed: bool,
    /// Since when it has failed without success.
    failing: Option<Instant>,
}

impl Watching {
    /// Takes note of what came of a watch of many objects.
    pub fn saw<T, E>(&self, event: &Result<Event<T>, E>) {
        match event {
            Ok(Event::InitDone) => self.works(),
            Ok(_) => self.state().failing = None,
            Err(_) => self.fails(),
        }
    }

    /// Takes note of what came of a watch of one object.
    pub fn saw_object<T, E>(&self, object: &Result<T, E>) {
        match object {
            Ok(_) => self.works(),
            Err(_) => self.fails(),
        }
    }

    /// Whether all was seen once.
    pub fn is_listed(&self) -> bool {
        self.state().listed
    }

    /// For how long it has failed.
    pub fn stale(&self) -> Duration {
        self.state().failing.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn works(&self) {
        *self.state() = State { listed: true, failing: None };
    }

    fn fails(&self) {
        self.state().failing.get_or_insert_with(Instant::now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_stale_from_its_first_failure_until_it_works() {
        let watching = Watching::default();
        watching.saw::<(), ()>(&Err(()));
        let before = watching.stale();
        watching.saw::<(), ()>(&Err(()));
        assert!(watching.stale() >= before && !watching.is_listed());
        watching.saw::<(), ()>(&Ok(Event::Init));
        assert!(watching.stale().is_zero() && !watching.is_listed());
        watching.saw::<(), ()>(&Ok(Event::InitDone));
        watching.saw_object::<(), ()>(&Err(()));
        assert!(watching.is_listed(), "what was seen still holds");
    }
}
