//! Origins that are asked for.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use veneur_dogstatsd::Claim;

/// Origins asked for at a time. Who claims to be more than that is turned away, and counted.
const MOST: usize = 1_024;

/// Longest wait before an origin is asked for once more.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Answers without an origin after which it is given up: it is no pod of this node.
const TRIES: u32 = 8;

/// An origin, by what a client calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Container(Box<str>),
    Inode(u64),
    Pod(Box<str>),
}

impl Key {
    /// Whom a claim means, by the surest that it says.
    pub(crate) fn of(claim: &Claim<'_>) -> Option<Self> {
        let container = claim.container.map(|id| Self::Container(id.into()));
        let inode = claim.inode.map(Self::Inode);
        container.or(inode).or(claim.pod.map(|uid| Self::Pod(uid.into())))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(id) => write!(f, "container {id}"),
            Self::Inode(inode) => write!(f, "cgroup inode {inode}"),
            Self::Pod(uid) => write!(f, "pod {uid}"),
        }
    }
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    due: Instant,
    tries: u32,
}

/// Who is asked for, and when next.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    waiting: HashMap<Key, Waiting>,
    turned_away: bool,
}

/// What an answer of the kubelet settled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Whether somebody who was asked for is known now.
    pub(crate) any: bool,
    /// Whether somebody found no room to be asked for since the last answer.
    pub(crate) turned_away: bool,
}

impl Unknown {
    /// Asks for an origin. True if that is new.
    pub(crate) fn ask(&mut self, key: Key, now: Instant) -> bool {
        if self.waiting.contains_key(&key) {
            return false;
        }
        if self.waiting.len() >= MOST {
            self.turned_away = true;
            return false;
        }
        self.waiting.insert(key, Waiting { since: now, due: now, tries: 0 });
        true
    }

    /// When the kubelet should be asked next; `None`: nobody is waited for.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.due).min()
    }

    /// Whether somebody is known by an inode only.
    pub(crate) fn wants_inodes(&self) -> bool {
        self.waiting.keys().any(|key| matches!(key, Key::Inode(_)))
    }

    /// An answer has come: who is known now is asked for no longer, the others later.
    pub(crate) fn settle(&mut self, knows: impl Fn(&Key) -> bool, now: Instant, refresh: Duration) -> Named {
        let before = self.waiting.len();
        self.waiting.retain(|key, _| !knows(key));
        let any = self.waiting.len() < before;
        self.waiting.retain(|_, waiting| {
            if waiting.due <= now {
                waiting.tries += 1;
                waiting.due = now + refresh.saturating_mul(1 << waiting.tries.min(16)).min(LONGEST_WAIT);
            }
            waiting.tries < TRIES
        });
        Named { any, turned_away: std::mem::take(&mut self.turned_away) }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Some of them, who has waited longest first.
    pub(crate) fn shown(&self, most: usize, now: Instant) -> Vec<serde_json::Value> {
        let mut all: Vec<_> = self.waiting.iter().collect();
        all.sort_by(|(left, one), (right, other)| (one.since, left).cmp(&(other.since, right)));
        let shown = all.into_iter().take(most);
        shown
            .map(|(key, waiting)| {
                let seconds = now.saturating_duration_since(waiting.since).as_secs();
                serde_json::json!({ "origin": key.to_string(), "seconds": seconds, "tries": waiting.tries })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_secs(5);

    #[test]
    fn whom_the_kubelet_does_not_know_is_asked_for_ever_more_seldom_and_then_no_more() {
        let (mut unknown, start) = (Unknown::default(), Instant::now());
        assert!(unknown.ask(Key::Inode(7), start));
        assert!(!unknown.ask(Key::Inode(7), start), "once");
        let mut waits = Vec::new();
        while let Some(due) = unknown.next_due() {
            waits.push((due - start).as_secs());
            assert_eq!(unknown.settle(|_| false, due, REFRESH), Named { any: false, turned_away: false });
        }
        assert_eq!(waits, [0, 10, 30, 70, 150, 310, 610, 910]);
    }

    #[test]
    fn who_is_named_is_asked_for_no_longer() {
        let (mut unknown, now) = (Unknown::default(), Instant::now());
        unknown.ask(Key::Pod("a".into()), now);
        unknown.ask(Key::Container("b".into()), now);
        assert!(unknown.settle(|key| *key == Key::Pod("a".into()), now, REFRESH).any);
        assert_eq!(unknown.shown(9, now)[0]["origin"], "container b");
        assert_eq!(unknown.len(), 1);
    }

    #[test]
    fn claims_are_bounded_whoever_makes_them() {
        let (mut unknown, now) = (Unknown::default(), Instant::now());
        for inode in 1..=2 * MOST as u64 {
            unknown.ask(Key::Inode(inode), now);
        }
        assert_eq!(unknown.len(), MOST);
        assert!(unknown.settle(|_| false, now, REFRESH).turned_away);
        assert!(!unknown.settle(|_| false, now, REFRESH).turned_away, "told once");
    }
}
