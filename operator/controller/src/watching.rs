//! How a watch does: whether it has listed what there is, since when it fails, and whether it may not look. For those on
//! which injection lives, which are not of the objects of pipelines ([`crate::live`]).

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt as _, stream};
use kube::{
    core::Status,
    runtime::watcher::{self, Event},
};
use tokio::{sync::watch, time::sleep};

/// A watch that is refused begins anew after so long: that will not pass by itself, and kube's back-off begins anew with
/// each list that is tried.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How one watch does; clones are of the same one.
#[derive(Debug, Clone, Default)]
pub struct Watching(watch::Sender<State>);

/// How a watch does.
#[derive(Debug, Default)]
pub struct State {
    listed: bool,
    failing: Failing,
    /// What the API server says, where it refuses it.
    refused: Option<String>,
}

/// Since when a watch fails.
///
/// kube says when one fails and when something changes, not when it is watched again: where little changes, one that has
/// not failed for [`QUIET`] is.
#[derive(Debug, Default)]
pub(crate) struct Failing(Option<Failures>);

/// Failures without a success between them.
#[derive(Debug)]
struct Failures {
    first: Instant,
    last: Instant,
}

/// Twice as long as kube may wait before it tries again.
const QUIET: Duration = Duration::from_mins(2);

impl Failing {
    pub(crate) fn works(&mut self) {
        self.0 = None;
    }

    pub(crate) fn fails(&mut self, now: Instant) {
        let first = self.lasting(now).map_or(now, |failures| failures.first);
        self.0 = Some(Failures { first, last: now });
    }

    /// For how long it has failed.
    pub(crate) fn stale(&self, now: Instant) -> Duration {
        self.lasting(now).map_or(Duration::ZERO, |failures| now.saturating_duration_since(failures.first))
    }

    fn lasting(&self, now: Instant) -> Option<&Failures> {
        self.0.as_ref().filter(|failures| now.saturating_duration_since(failures.last) < QUIET)
    }
}

impl Watching {
    /// What comes of a watch of many objects, which is noted here. Where it is refused, `begin` begins it anew, and so with
    /// a list: one that is taken up again says nothing until something changes.
    pub fn objects<S, T, B>(&self, begin: B) -> impl Stream<Item = watcher::Result<Event<T>>> + use<S, T, B>
    where
        B: FnMut() -> S,
        S: Stream<Item = watcher::Result<Event<T>>>,
    {
        self.noted(begin, Self::saw)
    }

    /// The same of a watch of one object.
    pub fn object<S, T, B>(&self, begin: B) -> impl Stream<Item = watcher::Result<T>> + use<S, T, B>
    where
        B: FnMut() -> S,
        S: Stream<Item = watcher::Result<T>>,
    {
        self.noted(begin, Self::saw_object)
    }

    /// Whether all was seen once.
    pub fn is_listed(&self) -> bool {
        self.0.borrow().listed
    }

    /// For how long it has failed.
    pub fn stale(&self) -> Duration {
        self.0.borrow().failing.stale(Instant::now())
    }

    /// What the API server says, where it refuses it.
    pub fn refused(&self) -> Option<String> {
        self.0.borrow().refused.clone()
    }

    /// Changes when a refusal begins or ends, and at nothing else.
    pub fn refusals(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    fn noted<S, T, B>(
        &self,
        mut begin: B,
        saw: fn(&Self, &watcher::Result<T>),
    ) -> impl Stream<Item = watcher::Result<T>> + use<S, T, B>
    where
        B: FnMut() -> S,
        S: Stream<Item = watcher::Result<T>>,
    {
        let watching = self.clone();
        stream::unfold((None::<Pin<Box<S>>>, None), move |(events, wait)| {
            let mut events = events.unwrap_or_else(|| Box::pin(begin()));
            let watching = watching.clone();
            async move {
                if let Some(wait) = wait {
                    sleep(wait).await;
                }
                let event = events.next().await?;
                saw(&watching, &event);
                let refused = event.as_ref().is_err_and(|error| refusal(error).is_some());
                let next = if refused { (None, Some(ASK_AGAIN)) } else { (Some(events), None) };
                Some((event, next))
            }
        })
    }

    fn saw<T>(&self, event: &watcher::Result<Event<T>>) {
        match event {
            // Said before anything is asked.
            Ok(Event::Init) => {}
            Ok(event) => self.works(matches!(event, Event::InitDone)),
            Err(error) => self.fails(error),
        }
    }

    fn saw_object<T>(&self, object: &watcher::Result<T>) {
        match object {
            Ok(_) => self.works(true),
            Err(error) => self.fails(error),
        }
    }

    fn works(&self, listed: bool) {
        self.0.send_if_modified(|state| {
            state.listed |= listed;
            state.failing.works();
            state.refused.take().is_some()
        });
    }

    fn fails(&self, error: &watcher::Error) {
        self.0.send_if_modified(|state| {
            state.failing.fails(Instant::now());
            let refused = refusal(error).filter(|why| state.refused.as_deref() != Some(why));
            let news = refused.is_some();
            if let Some(why) = refused {
                state.refused = Some(why.to_owned());
            }
            news
        });
    }
}

/// What the API server says where it refuses a watch.
fn refusal(error: &watcher::Error) -> Option<&str> {
    answered(error).filter(|status| matches!(status.code, 401 | 403)).map(|status| status.message.as_str())
}

/// The answer to a list, or to the request of a watch, that failed.
pub(crate) fn answered(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed<T>(code: u16) -> watcher::Result<T> {
        let status = crate::test_support::status(code, "said");
        let error = kube::Error::Api(serde_json::from_value(status).expect("a status"));
        Err(watcher::Error::WatchStartFailed(error))
    }

    #[test]
    fn a_watch_is_stale_from_its_first_failure_until_it_works() {
        let watching = Watching::default();
        watching.saw::<()>(&failed(500));
        let before = watching.stale();
        watching.saw::<()>(&Ok(Event::Init));
        watching.saw::<()>(&failed(500));
        assert!(watching.stale() >= before && !before.is_zero() && !watching.is_listed());
        watching.saw(&Ok(Event::InitApply(())));
        assert!(watching.stale().is_zero() && !watching.is_listed());
        watching.saw::<()>(&Ok(Event::InitDone));
        watching.saw_object::<()>(&failed(500));
        assert!(watching.is_listed(), "what was seen still holds");
    }

    #[test]
    fn a_watch_that_has_not_failed_for_long_is_not_stale_though_nothing_changed() {
        let (begun, mut failing) = (Instant::now(), Failing::default());
        let at = |seconds| begun + Duration::from_secs(seconds);
        [0, 60, 120].iter().for_each(|&seconds| failing.fails(at(seconds)));
        assert_eq!(failing.stale(at(200)), Duration::from_secs(200));
        assert_eq!(failing.stale(at(240)), Duration::ZERO);
        failing.fails(at(330));
        assert_eq!(failing.stale(at(340)), Duration::from_secs(10), "another outage");
    }

    #[test]
    fn a_refusal_is_told_when_it_begins_and_when_it_ends() {
        let (watching, mut told) = (Watching::default(), Vec::new());
        let mut refusals = watching.refusals();
        let mut look = |event: watcher::Result<Event<()>>| {
            watching.saw(&event);
            let news = refusals.has_changed().expect("its sender lives");
            refusals.mark_unchanged();
            told.push((news, watching.refused().is_some()));
        };
        for event in [Ok(Event::InitDone), failed(500), failed(403), failed(403), Ok(Event::Init), Ok(Event::InitDone)]
        {
            look(event);
        }
        let expected = [(false, false), (false, false), (true, true), (false, true), (false, true), (true, false)];
        assert_eq!(told, expected);
    }

    /// It would be silent if it were taken up again where it was refused.
    #[tokio::test(start_paused = true)]
    async fn a_watch_that_was_refused_begins_anew_after_a_while() {
        let (watching, mut begun, start) = (Watching::default(), 0, tokio::time::Instant::now());
        let events = watching.objects(|| {
            begun += 1;
            let events = if begun < 3 { vec![Ok(Event::Init), failed(403)] } else { vec![Ok(Event::InitDone)] };
            stream::iter(events).chain(stream::pending::<watcher::Result<Event<()>>>())
        });
        let listed = std::pin::pin!(events.filter(|event| {
            let listed = matches!(event, Ok(Event::InitDone));
            async move { listed }
        }))
        .next()
        .await;
        assert!(listed.is_some() && watching.is_listed() && watching.refused().is_none());
        assert_eq!(start.elapsed(), 2 * ASK_AGAIN);
    }
}
