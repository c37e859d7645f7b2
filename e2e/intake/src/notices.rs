//! The bodies of `/intake` and `/api/v1/check_run`, read as strictly as their documentation allows.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// How far from now an event or a check may be, in seconds: the real intake's limits.
const EVENT_PAST: i64 = 18 * 3_600;
const CHECK_PAST: i64 = 600;
const FUTURE: i64 = 600;

/// An event as it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the intake's")]
pub struct ReceivedEvent {
    /// Who sent it.
    pub sender: IpAddr,
    #[serde(flatten)]
    pub event: ApiEvent,
}

/// An event as the API has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the intake's")]
pub struct ApiEvent {
    pub msg_title: String,
    pub msg_text: String,
    pub timestamp: Option<i64>,
    pub host: Option<String>,
    pub aggregation_key: Option<String>,
    pub priority: Priority,
    pub source_type_name: Option<String>,
    pub alert_type: AlertType,
    #[serde(default)]
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the intake's")]
pub enum Priority {
    Normal,
    Low,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the intake's")]
pub enum AlertType {
    Error,
    Warning,
    Info,
    Success,
}

/// The outcome of a service check as it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the intake's")]
pub struct ReceivedCheck {
    /// Who sent it.
    pub sender: IpAddr,
    #[serde(flatten)]
    pub run: CheckRun,
}

/// The outcome of a check as the API has it: three fields are required besides the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the intake's")]
pub struct CheckRun {
    pub check: String,
    pub status: u8,
    pub host_name: String,
    pub tags: Vec<String>,
    pub timestamp: Option<i64>,
    pub message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    events: Lists,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    api: Vec<ApiEvent>,
}

pub(crate) fn read_events(text: &str, sender: IpAddr, now: Duration) -> Result<Vec<ReceivedEvent>, String> {
    let body: Body = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let empty = |text: &Option<String>| text.as_deref() == Some("");
    let one = |event: ApiEvent| {
        if event.msg_title.is_empty() || event.msg_text.is_empty() {
            return Err("an event has no title or no text".to_owned());
        }
        if empty(&event.host) || empty(&event.aggregation_key) || empty(&event.source_type_name) {
            return Err(format!("event {:?}: what is empty is left out", event.msg_title));
        }
        near(event.timestamp, now, EVENT_PAST).map_err(|problem| format!("event {:?}: {problem}", event.msg_title))?;
        Ok(ReceivedEvent { sender, event })
    };
    if body.events.api.is_empty() {
        return Err("there are no events".to_owned());
    }
    body.events.api.into_iter().map(one).collect()
}

pub(crate) fn read_checks(text: &str, sender: IpAddr, now: Duration) -> Result<Vec<ReceivedCheck>, String> {
    let runs: Vec<CheckRun> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let one = |run: CheckRun| {
        let wrong = |problem: &str| Err::<(), _>(format!("check {:?}: {problem}", run.check));
        if run.check.is_empty() || run.host_name.is_empty() {
            wrong("the name or the host is empty")?;
        }
        if run.status > 3 {
            wrong("the status is above 3")?;
        }
        if run.message.as_deref() == Some("") {
            wrong("an empty message is left out")?;
        }
        near(run.timestamp, now, CHECK_PAST).or_else(|problem| wrong(&problem))?;
        Ok(ReceivedCheck { sender, run })
    };
    if runs.is_empty() {
        return Err("there are no checks".to_owned());
    }
    runs.into_iter().map(one).collect()
}

fn near(timestamp: Option<i64>, now: Duration, past: i64) -> Result<(), String> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match timestamp {
        Some(timestamp) if timestamp < now - past || timestamp > now + FUTURE => {
            Err(format!("timestamp {timestamp} is too far from {now}"))
        }
        _ => Ok(()),
    }
}
