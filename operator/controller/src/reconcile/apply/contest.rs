//! Objects that somebody else keeps changing back, and objects that never come out as they were applied.
//!
//! Two writers that disagree would write for ever. The first few times drift is corrected at once, after that with
//! growing pauses, and the status says so.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::object::Object;
use crate::{kind::Kind, reconcile::revision};

/// Corrections that are made at once.
const AT_ONCE: u32 = 5;
/// The first pause, doubled with each correction, at most [`LONGEST`].
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(10);
/// After so long without a correction it is over.
const OVER: Duration = Duration::from_mins(30);
/// Beyond so many objects all are forgotten: a bound, nothing more.
const MOST: usize = 50_000;

type Name = (Kind, String, String);

#[derive(Debug, Default)]
struct Books {
    /// Corrections, and the last of them.
    corrected: HashMap<Name, (u32, Instant)>,
    /// Hash of what was applied and of what became of it, where the two differ.
    settled: HashMap<Name, (String, String)>,
}

/// What is remembered of objects that do not stay as they are applied.
#[derive(Debug, Default)]
pub struct Contests(Mutex<Books>);

impl Contests {
    /// Whether drift of this object may be corrected now; then it counts as corrected.
    pub(super) fn may_correct(&self, object: &Object) -> bool {
        self.may_correct_at(object, Instant::now())
    }

    fn may_correct_at(&self, object: &Object, now: Instant) -> bool {
        let mut books = self.books();
        if books.corrected.len() >= MOST {
            books.corrected.clear();
        }
        let (count, last) = books.corrected.entry(name(object)).or_insert((0, now));
        let since = now.duration_since(*last);
        if since >= OVER {
            *count = 0;
        }
        let pause = match count.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(more) => FIRST.saturating_mul(1 << more.min(8)).min(LONGEST),
        };
        if since < pause {
            return false;
        }
        (*count, *last) = (count.saturating_add(1), now);
        true
    }

    /// Remembers that `now` is what applying `object` comes to, where that is not what was asked.
    pub(super) fn settle(&self, object: &Object, now: &Value) {
        let mut books = self.books();
        if super::compare::contains(now, &object.json) {
            books.settled.remove(&name(object));
            return;
        }
        tracing::warn!(object = %object, "The API server changes what is applied");
        if books.settled.len() >= MOST {
            books.settled.clear();
        }
        books.settled.insert(name(object), (object.hash.clone(), digest(now)));
    }

    /// Whether applying `object` came to exactly this before.
    pub(super) fn is_settled(&self, object: &Object, live: &Value) -> bool {
        let books = self.books();
        books.settled.get(&name(object)).is_some_and(|(hash, became)| *hash == object.hash && *became == digest(live))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(object: &Object) -> Name {
    (object.kind, object.namespace.clone(), object.name.clone())
}

/// What was asked for is in these; the rest changes by itself.
fn digest(object: &Value) -> String {
    let asked: Vec<String> =
        ["spec", "data", "rules", "roleRef", "subjects"].iter().map(|key| object[*key].to_string()).collect();
    let metadata = &object["metadata"];
    revision::of(&format!("{asked:?}{}{}{}", metadata["labels"], metadata["annotations"], metadata["ownerReferences"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{reconcile::build::build, test_support::validated};

    #[test]
    fn a_contest_is_slowed_down_and_forgotten() {
        let object = &Object::all_of(&build(&validated(crate::test_support::SMALLEST)))[0];
        let (contests, start) = (Contests::default(), Instant::now());
        let at = |seconds| contests.may_correct_at(object, start + Duration::from_secs(seconds));
        assert!((0..5).all(&at), "five times at once");
        assert!(!at(5) && !at(33), "then after 30 s");
        assert!(at(34));
        assert!(!at(93), "then after 60 s");
        assert!(at(94));
        assert!(at(94 + 1_800) && at(94 + 1_801), "and after half an hour of peace at once again");
    }
}
