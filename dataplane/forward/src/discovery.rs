//! Who the members are: a watch of a Service's EndpointSlices, or the addresses of a name ([`dns`]).
//!
//! A watch, never a poll: what it costs the API server does not grow with how soon we want to know.

pub mod dns;
mod tally;

pub use tally::{Tally, TallyView};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::time::Instant;
use veneur_metric::{Condition, Turn};
use veneur_ring::Member;

use crate::router::Router;

/// How long one watch call lasts. A connection that died in silence is noticed this much and 5 s later.
const WATCH_SECONDS: u32 = 30;

/// A Service whose EndpointSlices list the members.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Service {
    pub namespace: String,
    pub name: String,
    /// Name of the port; slices may carry different numbers for it.
    pub port: String,
}

/// An endpoint that is listed nowhere for this long, and did not say before that it would leave, has vanished. One that is
/// moved from slice to slice is missing for a moment.
const VANISHED_AFTER: Duration = Duration::from_millis(500);

/// What a proxy says whose members have all gone. It keeps them: a Service that is mistyped looks the same.
const NONE_READY: &str = "no endpoint is ready";

/// Members and when the slices that list them were last written, in Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Time of the newest write, the same for every proxy that reads it.
    pub written_ms: u64,
    /// The members.
    pub members: Vec<Member>,
    /// Endpoints that are about to leave.
    pub leaving: BTreeSet<String>,
}

/// What a watch shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Membership(Membership),
    /// A member is listed no more, without having been about to leave.
    Vanished(String),
    /// Changes are not seen, and why; or they are again.
    Blind(Option<String>),
}

impl Seen {
    fn tell(self, router: &Router) {
        match self {
            Self::Membership(membership) => router.change(membership.written_ms, membership.members),
            Self::Vanished(name) => router.vanished(&name),
            Self::Blind(why) => router.blind(why),
        }
    }
}

/// Feeds `router` the membership of `service`, for ever. A lost API server leaves the last membership in force.
pub async fn follow(client: Client, service: &Service, router: &Arc<Router>, tally: &Tally) {
    let slices: Api<EndpointSlice> = Api::namespaced(client, &service.namespace);
    let config = watcher::Config::default()
        .labels(&format!("kubernetes.io/service-name={}", service.name))
        .timeout(WATCH_SECONDS);
    let events = watcher(slices, config).default_backoff();
    track(events, &service.port, tally, |seen| seen.tell(router)).await;
}

async fn track(
    events: impl Stream<Item = Result<watcher::Event<EndpointSlice>, watcher::Error>>,
    port: &str,
    tally: &Tally,
    mut on: impl FnMut(Seen),
) {
    let mut slices: BTreeMap<String, EndpointSlice> = BTreeMap::new();
    let mut listed: BTreeMap<String, EndpointSlice> = BTreeMap::new();
    let mut known = BTreeSet::new();
    let mut missing: BTreeMap<String, Instant> = BTreeMap::new();
    let mut newest_ms = 0;
    let (mut failing, mut deserted) = (Condition::default(), Condition::default());
    let mut had_members = false;
    let mut events = std::pin::pin!(events);
    loop {
        let overdue = missing.values().min().copied();
        let event = tokio::select! {
            event = events.next() => event,
            () = until(overdue) => {
                let now = Instant::now();
                missing.extract_if(.., |_, overdue| *overdue <= now).for_each(|(name, _)| on(Seen::Vanished(name)));
                continue;
            }
        };
        let Some(event) = event else { return };
        match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(slice)) => {
                listed.insert(name(&slice), slice);
                continue;
            }
            Ok(watcher::Event::InitDone) => slices = std::mem::take(&mut listed),
            Ok(watcher::Event::Apply(slice)) => {
                slices.insert(name(&slice), slice);
            }
            Ok(watcher::Event::Delete(slice)) => {
                slices.remove(&name(&slice));
            }
            Err(error) => {
                tally.failed(Duration::ZERO);
                let problem = crate::client::chain(&error);
                if failing.look(1).is_some() {
                    tracing::warn!(problem, "EndpointSlices cannot be watched: the ring stays as it is");
                }
                on(Seen::Blind(Some(format!("EndpointSlices cannot be watched: {problem}"))));
                continue;
            }
        }
        if let Some(Turn::Over { times }) = failing.look(0) {
            tracing::info!(attempts = times, "EndpointSlices are watched again");
            on(Seen::Blind(None));
        }
        if listed.is_empty() {
            let mut membership = membership(slices.values(), port, &known);
            // Without the newest slice the others look older than what was said before.
            let members = membership.members.len();
            match members {
                0 => tally.failed(Duration::ZERO),
                members => tally.answered(members, Duration::ZERO),
            }
            had_members |= members > 0;
            newest_ms = newest_ms.max(membership.written_ms);
            membership.written_ms = newest_ms;
            let listed: BTreeSet<String> = membership.members.iter().map(|member| member.name.clone()).collect();
            let away = |name: &String| !listed.contains(name) && !membership.leaving.contains(name);
            missing.retain(|name, _| away(name));
            for name in known.into_iter().filter(away) {
                missing.entry(name).or_insert_with(|| Instant::now() + VANISHED_AFTER);
            }
            known = listed;
            on(Seen::Membership(membership));
            match deserted.look(u64::from(had_members && members == 0)) {
                Some(Turn::Begun) => tracing::warn!("No endpoint is ready: the ring stays as it is"),
                Some(Turn::Over { .. }) => {
                    tracing::info!(members, "Endpoints are ready again");
                    on(Seen::Blind(None));
                }
                None => {}
            }
            if deserted.lasts() {
                // Also if it was said before: a watch that works again has taken that back.
                on(Seen::Blind(Some(NONE_READY.to_owned())));
            }
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// The members that slices list: the ready ones, and those briefly not ready that were members before. A terminating
/// endpoint is none, whatever it can still serve. Of a pod with addresses of both families the first is taken.
pub fn membership<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port: &str,
    known: &BTreeSet<String>,
) -> Membership {
    let mut written_ms = 0;
    let (mut members, mut leaving) = (BTreeMap::new(), BTreeSet::new());
    // "IPv4" comes before "IPv6": all proxies choose the same address.
    let mut slices: Vec<&EndpointSlice> = slices.collect();
    slices.sort_by_key(|slice| &slice.address_type);
    for slice in slices {
        written_ms = written_ms.max(written(slice));
        let ports = slice.ports.iter().flatten();
        let Some(number) = ports.filter(|slice_port| slice_port.name.as_deref() == Some(port)).find_map(|p| p.port)
        else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first() else {
                continue;
            };
            let name = endpoint.target_ref.as_ref().and_then(|pod| pod.name.clone()).unwrap_or_else(|| address.clone());
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let terminating = conditions.terminating.unwrap_or(false);
            let ready = conditions.ready.unwrap_or(true) || known.contains(&name);
            if terminating {
                leaving.insert(name);
            } else if ready {
                let address =
                    if address.contains(':') { format!("[{address}]:{number}") } else { format!("{address}:{number}") };
                members.entry(name.clone()).or_insert(Member { name, address });
            }
        }
    }
    // A slice of its other family may not say so yet.
    members.retain(|name, _| !leaving.contains(name));
    Membership { written_ms, members: members.into_values().collect(), leaving }
}

fn written(slice: &EndpointSlice) -> u64 {
    let times = slice.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
    let newest = times.map(|time| time.0.as_millisecond()).max();
    newest.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default()
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests;
