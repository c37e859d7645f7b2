//! Who the members are: the addresses of a name, asked for again and again.
//!
//! An answer does not say since when it holds, so a change counts from when it is seen, rounded up to a whole second. All
//! proxies ask at the same instants, the multiples of the refresh time, and so agree as far as their name servers do.

use std::{collections::BTreeSet, io, net::SocketAddr, sync::Arc, time::Duration};

use veneur_metric::{Condition, Turn};
use veneur_ring::Member;

use super::{Membership, Seen, Tally};
use crate::{clock::now_ms, router::Router};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Feeds `router` the addresses of `name`, `HOST:PORT`, for ever. A name server that fails, or knows no address, leaves
/// the last membership in force.
pub async fn follow(name: &str, refresh: Duration, router: &Arc<Router>, tally: &Tally) {
    let resolve = || {
        let name = name.to_owned();
        async move {
            match tokio::time::timeout(PATIENCE, tokio::net::lookup_host(name)).await {
                Ok(answer) => answer.map(Iterator::collect),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}"))),
            }
        }
    };
    track(name, resolve, refresh, now_ms, tally, |seen| seen.tell(router)).await;
}

async fn track<Answer: Future<Output = io::Result<Vec<SocketAddr>>>>(
    name: &str,
    mut resolve: impl FnMut() -> Answer,
    refresh: Duration,
    now_ms: impl Fn() -> u64,
    tally: &Tally,
    mut on: impl FnMut(Seen),
) {
    let mut known = Vec::new();
    let mut failing = Condition::default();
    let refresh_ms = u64::try_from(refresh.as_millis()).unwrap_or(u64::MAX).max(1);
    loop {
        let asked_ms = now_ms();
        let answer = resolve().await.map(one_family);
        let answered_ms = now_ms();
        let took = Duration::from_millis(answered_ms.saturating_sub(asked_ms));
        match answer {
            Ok(addresses) if !addresses.is_empty() => {
                tally.answered(addresses.len(), took);
                if let Some(Turn::Over { times }) = failing.look(0) {
                    tracing::info!(name, attempts = times, "The members' name is resolved again");
                    on(Seen::Blind(None));
                }
                if addresses != known {
                    known.clone_from(&addresses);
                    let members = addresses.iter().map(ToString::to_string);
                    let members = members.map(|address| Member { name: address.clone(), address }).collect();
                    let written_ms = answered_ms.div_ceil(1_000) * 1_000;
                    on(Seen::Membership(Membership { written_ms, members, leaving: BTreeSet::new() }));
                }
            }
            wrong => {
                tally.failed(took);
                let problem = wrong.err().map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
                if failing.look(1).is_some() {
                    tracing::warn!(name, problem, "The members' name is not resolved: the ring stays as it is");
                }
                on(Seen::Blind(Some(format!("{name} is not resolved: {problem}"))));
            }
        }
        tokio::time::sleep(Duration::from_millis(refresh_ms - now_ms() % refresh_ms)).await;
    }
}

/// Distinct addresses in order. Of a name with addresses of both families only IPv4 counts: each member has one of each,
/// and would be two.
fn one_family(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.iter().any(SocketAddr::is_ipv4) {
        addresses.retain(SocketAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, collections::VecDeque};
    use tokio::sync::mpsc;

    fn addresses(texts: &str) -> Vec<SocketAddr> {
        texts.split_whitespace().map(|text| text.parse().expect("an address")).collect()
    }

    /// What a name server that gives these answers, one a second from 1,000,100 ms on, makes of the membership.
    async fn memberships(answers: Vec<io::Result<Vec<SocketAddr>>>) -> (Vec<Seen>, Tally) {
        let (mut answers, (sender, mut exhausted)) = (VecDeque::from(answers), mpsc::channel::<()>(1));
        let (tally, mut seen, clock_ms) = (Tally::default(), Vec::new(), Cell::new(999_100));
        let resolve = || {
            let (answer, sender) = (answers.pop_front(), sender.clone());
            clock_ms.set(clock_ms.get() + 1_000);
            async move {
                let Some(answer) = answer else {
                    sender.send(()).await.expect("somebody waits");
                    return std::future::pending().await;
                };
                answer
            }
        };
        let on = |told| seen.push(told);
        tokio::select! {
            () = track("globals:8128", resolve, Duration::from_millis(1), || clock_ms.get(), &tally, on) => {}
            _ = exhausted.recv() => {}
        }
        (seen, tally)
    }

    #[tokio::test]
    async fn a_changed_answer_is_a_membership_and_a_shuffled_one_is_not() {
        let (seen, tally) = memberships(vec![
            Ok(addresses("10.0.0.2:8128 10.0.0.1:8128 10.0.0.2:8128")),
            Ok(addresses("10.0.0.1:8128 10.0.0.2:8128")),
            Ok(addresses("10.0.0.3:8128 10.0.0.1:8128")),
        ])
        .await;
        let member = |address: &str| Member { name: address.to_owned(), address: address.to_owned() };
        let membership =
            |written_ms, members| Seen::Membership(Membership { written_ms, members, leaving: BTreeSet::new() });
        let first = vec![member("10.0.0.1:8128"), member("10.0.0.2:8128")];
        let second = vec![member("10.0.0.1:8128"), member("10.0.0.3:8128")];
        assert_eq!(seen, [membership(1_001_000, first), membership(1_003_000, second),]);
        assert_eq!((tally.view().answers, tally.view().members), (3, 2));
    }

    #[tokio::test]
    async fn a_failure_or_an_empty_answer_keeps_the_members_and_is_counted() {
        let refused = || Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        let good = || Ok(addresses("[fd00::1]:8128"));
        let (seen, tally) = memberships(vec![refused(), good(), refused(), Ok(vec![]), good(), refused()]).await;
        let told: Vec<&str> = seen
            .iter()
            .map(|seen| match seen {
                Seen::Membership(membership) => membership.members[0].address.as_str(),
                Seen::Blind(Some(why)) => why.as_str(),
                Seen::Blind(None) => "sees again",
                Seen::Vanished(name) => name.as_str(),
            })
            .collect();
        let refused = "globals:8128 is not resolved: connection refused";
        let none = "globals:8128 is not resolved: it has no address";
        assert_eq!(told, [refused, "sees again", "[fd00::1]:8128", refused, none, "sees again", refused]);
        let view = tally.view();
        assert_eq!((view.answers, view.errors, view.members, view.failing), (2, 4, 1, true));
    }

    #[test]
    fn of_two_families_one_counts() {
        let both = addresses("[fd00::1]:8128 10.0.0.1:8128 [fd00::2]:8128 10.0.0.2:8128");
        assert_eq!(one_family(both), addresses("10.0.0.1:8128 10.0.0.2:8128"));
    }
}
