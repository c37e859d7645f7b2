//! What the answers of a pipeline's pods say together. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use veneur_operator_api::{AccountStatus, RingReason, RingStatus, SinkStatus, SinksReason, VeneurPipelineStatus};

use crate::labels::Role;

/// Proxies see a change of members within a second or two; twice the longest interval would be ten minutes, and nobody
/// waits so long. A minute is six of the default.
const CONVERGENCE: Duration = Duration::from_mins(1);
/// Attempts in a row that a sink has to fail before it is told: one may be chance.
const FAILURES: u64 = 3;
/// Members that are named.
const NAMED: usize = 50;
/// Longest text of a backend that is passed on, in characters.
const LONGEST: usize = 300;

/// What a pod serves as `/status`, as far as it is looked at. What is missing is zero: older versions say less.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatusPage {
    unaccounted: i64,
    ledgers: Ledgers,
    sinks: Vec<SinkPage>,
    ring: Option<RingPage>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Ledgers {
    forward: ForwardLedger,
    sinks: BTreeMap<String, SinkLedger>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct ForwardLedger {
    imported: i64,
    uncertain: i64,
    dropped: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct SinkLedger {
    published: i64,
    dropped: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct SinkPage {
    name: String,
    consecutive_failures: u64,
    last_error: Option<String>,
    seconds_since_success: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct RingPage {
    hash: String,
    blind: Option<String>,
    members: Vec<MemberPage>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct MemberPage {
    name: String,
}

/// One pod's answer, or that there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The pod's name.
    pub pod: String,
    /// Its tier.
    pub role: Role,
    /// What it said.
    pub page: Result<StatusPage, String>,
}

/// What the tiers of one pipeline say of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetReport {
    /// Whether proxies agree, and why.
    pub ring: (RingReason, String),
    /// On what they agree.
    pub ring_status: Option<RingStatus>,
    /// Whether sinks deliver, and why.
    pub sinks: (SinksReason, String),
    /// Each sink.
    pub sink_status: Vec<SinkStatus>,
    /// The sum of all ledgers.
    pub account: Option<AccountStatus>,
    /// How long proxies have disagreed.
    disagreed: Duration,
}

impl FleetReport {
    /// Of these answers, `passed` after `before`.
    pub fn of(answers: &[Answer], before: Option<&Self>, passed: Duration) -> Self {
        let of_role = |role: Role| -> Vec<(&str, &StatusPage)> {
            let of_role = answers.iter().filter(|answer| answer.role == role);
            of_role.filter_map(|answer| Some((answer.pod.as_str(), answer.page.as_ref().ok()?))).collect()
        };
        let silent = |role: Role| {
            answers
                .iter()
                .filter(|answer| answer.role == role)
                .find_map(|answer| answer.page.as_ref().err().map(|error| format!("pod {}: {error}", answer.pod)))
        };
        let (proxies, globals) = (of_role(Role::Proxy), of_role(Role::Global));
        let rings: Vec<(&str, &RingPage)> =
            proxies.iter().filter_map(|(pod, page)| Some((*pod, page.ring.as_ref()?))).collect();
        let (ring, ring_status, disagreed) = ring(&rings, silent(Role::Proxy), before, passed);
        let sink_status = sink_status(&globals, before);
        let account = (!proxies.is_empty() || !globals.is_empty()).then(|| account(&proxies, &globals));
        Self { ring, ring_status, sinks: sinks(&sink_status, silent(Role::Global)), sink_status, account, disagreed }
    }

    /// Whether sinks are known, and each of them fails.
    pub fn no_sink_delivers(&self) -> bool {
        !self.sink_status.is_empty() && self.sink_status.iter().all(fails)
    }

    /// Whether both say the same, but for counts that rise all the time.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.ring == other.ring
            && self.ring_status == other.ring_status
            && self.sinks.0 == other.sinks.0
            && self.sink_status.len() == other.sink_status.len()
            && self.sink_status.iter().zip(&other.sink_status).all(|(one, other)| same_state(one, other))
    }

    /// Writes what is known into a status.
    pub(crate) fn fill(&self, status: &mut VeneurPipelineStatus) {
        if let Some(ring) = &self.ring_status {
            status.ring = Some(ring.clone());
        }
        if !self.sink_status.is_empty() {
            status.sinks.clone_from(&self.sink_status);
            let well = self.sink_status.iter().filter(|sink| !fails(sink)).count();
            status.sinks_summary = Some(format!("{well}/{}", self.sink_status.len()));
        }
        if let Some(account) = &self.account {
            status.account = Some(account.clone());
        }
    }
}

/// State of a sink that was not sent anything.
const IDLE: &str = "Idle";

fn fails(sink: &SinkStatus) -> bool {
    sink.failing.is_some()
}

fn same_state(one: &SinkStatus, other: &SinkStatus) -> bool {
    (&one.name, &one.state, &one.failing) == (&other.name, &other.state, &other.failing)
}

fn ring(
    rings: &[(&str, &RingPage)],
    silent: Option<String>,
    before: Option<&FleetReport>,
    passed: Duration,
) -> ((RingReason, String), Option<RingStatus>, Duration) {
    let Some((_, first)) = rings.first() else {
        let said = silent.map_or_else(
            || (RingReason::NotObserved, "no proxy runs that could be asked".to_owned()),
            |silent| {
                let next = "the operator asks port 8127 of each pod: does a NetworkPolicy keep it away?";
                (RingReason::NotObserved, format!("no proxy answers ({silent}); {next}"))
            },
        );
        return (said, None, Duration::ZERO);
    };
    let with = |hash: &str| rings.iter().filter(|(_, ring)| ring.hash == hash).count();
    let (_, usual) = rings.iter().max_by_key(|(_, ring)| with(&ring.hash)).expect("there is a first");
    let agreeing = with(&usual.hash);
    let agree = agreeing == rings.len();
    let status = RingStatus {
        hash: if agree { first.hash.clone() } else { String::new() },
        size: i32::try_from(usual.members.len()).unwrap_or(i32::MAX),
        agreement: format!("{agreeing}/{}", rings.len()),
        members: usual.members.iter().take(NAMED).map(|member| member.name.clone()).collect(),
    };
    let blind = rings.iter().find_map(|(pod, ring)| Some((*pod, ring.blind.as_deref()?)));
    if let Some((pod, why)) = blind {
        let reason = if why.contains("forbidden") { RingReason::EndpointsUnreadable } else { RingReason::Stale };
        let message = format!("proxy {pod} sees no changes of members, its last ring stays in force: {}", cut(why));
        return ((reason, message), Some(status), Duration::ZERO);
    }
    if !agree {
        let disagreed = before.map_or(Duration::ZERO, |before| before.disagreed + passed);
        let others: Vec<&str> =
            rings.iter().filter(|(_, ring)| ring.hash != usual.hash).map(|(pod, _)| *pod).take(5).collect();
        let reason = if disagreed < CONVERGENCE { RingReason::Converging } else { RingReason::ProxiesDisagree };
        let message = format!(
            "{agreeing} of {} proxies agree on {} members; others have {}",
            rings.len(),
            usual.members.len(),
            others.join(", ")
        );
        return ((reason, message), Some(status), disagreed.max(Duration::from_nanos(1)));
    }
    if usual.members.is_empty() {
        let message =
            "the ring has no member: no global has been ready yet, and senders hold what they have until their bounds";
        return ((RingReason::NoMembers, message.to_owned()), Some(status), Duration::ZERO);
    }
    let message = format!("{} members, hash {}", usual.members.len(), first.hash);
    ((RingReason::AllProxiesAgree, message), Some(status), Duration::ZERO)
}

/// A sink whose state stays keeps its message: backends put dates into theirs, and each change is a write.
fn sink_status(globals: &[(&str, &StatusPage)], before: Option<&FleetReport>) -> Vec<SinkStatus> {
    let before = before.map(|before| before.sink_status.as_slice()).unwrap_or_default();
    let mut names: Vec<&str> = Vec::new();
    for sink in globals.iter().flat_map(|(_, page)| &page.sinks) {
        if !names.contains(&sink.name.as_str()) {
            names.push(&sink.name);
        }
    }
    let now = names.into_iter().map(|name| one_sink(name, globals));
    now.map(|sink| before.iter().find(|before| same_state(before, &sink)).cloned().unwrap_or(sink)).collect()
}

fn one_sink(name: &str, globals: &[(&str, &StatusPage)]) -> SinkStatus {
    let views: Vec<&SinkPage> =
        globals.iter().flat_map(|(_, page)| &page.sinks).filter(|sink| sink.name == name).collect();
    let failing: Vec<&&SinkPage> = views.iter().filter(|sink| sink.consecutive_failures >= FAILURES).collect();
    if let Some(first) = failing.first() {
        let said = first.last_error.as_deref().unwrap_or("no answer");
        return SinkStatus {
            name: name.to_owned(),
            state: why(said).as_str().to_owned(),
            failing: Some(format!("{}/{}", failing.len(), views.len())),
            message: Some(cut(said)),
        };
    }
    let sent = views.iter().any(|sink| sink.seconds_since_success.is_some());
    let state = if sent { SinksReason::Delivering.as_str() } else { IDLE };
    SinkStatus { name: name.to_owned(), state: state.to_owned(), failing: None, message: None }
}

/// Which reason the data plane's words mean: `status 403`, `status 429: …`, a TLS error, anything else.
fn why(said: &str) -> SinksReason {
    let status =
        said.split_once("status ").and_then(|(_, rest)| rest.get(..3)).and_then(|digits| digits.parse::<u16>().ok());
    let lower = said.to_lowercase();
    match status {
        Some(401 | 403) => SinksReason::AuthRejected,
        Some(429) => SinksReason::Throttled,
        Some(400..=499) => SinksReason::Rejected,
        _ if lower.contains("certificate") || lower.contains("tls") => SinksReason::TlsFailed,
        _ => SinksReason::Unreachable,
    }
}

fn sinks(all: &[SinkStatus], silent: Option<String>) -> (SinksReason, String) {
    let failing = all.iter().filter_map(|sink| {
        let reason = SinksReason::ALL.iter().find(|reason| reason.as_str() == sink.state)?;
        let where_ = sink.failing.as_ref()?;
        let message = sink.message.as_deref().unwrap_or_default();
        Some((*reason, format!("sink {} fails in {where_} globals: {message}", sink.name)))
    });
    if let Some(first) = failing.into_iter().next() {
        return first;
    }
    let delivering = all.iter().filter(|sink| sink.state == SinksReason::Delivering.as_str()).count();
    if delivering > 0 {
        return (SinksReason::Delivering, format!("{delivering} of {} sinks took points", all.len()));
    }
    let message = match silent {
        Some(silent) if all.is_empty() => format!("no global answers ({silent})"),
        _ if all.is_empty() => "no global runs that could be asked".to_owned(),
        _ => "nothing was sent yet".to_owned(),
    };
    (SinksReason::NotObserved, message)
}

fn account(proxies: &[(&str, &StatusPage)], globals: &[(&str, &StatusPage)]) -> AccountStatus {
    let all = || proxies.iter().chain(globals).map(|(_, page)| *page);
    let sinks = || all().flat_map(|page| page.ledgers.sinks.values());
    let dropped = |dropped: &BTreeMap<String, i64>| dropped.values().sum::<i64>();
    // Where there are proxies, what globals import is what they sent on.
    let entrance = if proxies.is_empty() { globals } else { proxies };
    AccountStatus {
        imported: entrance.iter().map(|(_, page)| page.ledgers.forward.imported).sum(),
        published: sinks().map(|sink| sink.published).sum(),
        dropped: all().map(|page| dropped(&page.ledgers.forward.dropped)).sum::<i64>()
            + sinks().map(|sink| dropped(&sink.dropped)).sum::<i64>(),
        uncertain: all().map(|page| page.ledgers.forward.uncertain).sum(),
        unaccounted: all().map(|page| page.unaccounted).sum(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
