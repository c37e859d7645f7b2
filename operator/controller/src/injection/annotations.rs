//! What a pod wishes for itself, within what its pipeline allows.
//!
//! A value that cannot be read is a reason to inject nothing: half of a wish is another wish. Resources are the
//! exception, since an autoscaler may write them: those that do not fit are left out, with a note.

use std::collections::{BTreeMap, BTreeSet};

use veneur_operator_api::{Override, Transport};

use super::{
    Skip, SkipReason,
    pod::Pod,
    quantity::nanos,
    settings::{Mode, Settings},
};
use crate::labels::ADMIN_PORT;

/// Resources that a pod may ask for its sidecar: annotation, list, key.
const RESOURCES: [(&str, &str, &str); 4] = [
    ("veneur.dev/cpu-request", "requests", "cpu"),
    ("veneur.dev/cpu-limit", "limits", "cpu"),
    ("veneur.dev/memory-request", "requests", "memory"),
    ("veneur.dev/memory-limit", "limits", "memory"),
];
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// Ports below are for the superuser, whom the sidecar is not.
const LOWEST_PORT: u16 = 1024;
/// Of tags that a pod adds.
const MOST_TAGS: usize = 32;
/// Keys of ours. Others below the prefix are mistyped, most likely.
pub(super) const KNOWN: [&str; 16] = [
    super::INJECT,
    super::STATUS,
    super::SKIPPED,
    "veneur.dev/containers",
    "veneur.dev/exclude-containers",
    "veneur.dev/init-containers",
    "veneur.dev/mode",
    "veneur.dev/transport",
    "veneur.dev/port",
    "veneur.dev/tags",
    "veneur.dev/cpu-request",
    "veneur.dev/cpu-limit",
    "veneur.dev/memory-request",
    "veneur.dev/memory-limit",
    "veneur.dev/log-level",
    "veneur.dev/env-skip",
];

/// What a pod wishes for itself.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Names of the only containers that get variables and socket.
    pub(super) containers: Option<BTreeSet<String>>,
    pub(super) exclude_containers: BTreeSet<String>,
    /// Names of the only init containers that do.
    pub(super) init_containers: Option<BTreeSet<String>>,
    /// Tags of this pod's metrics: key, value.
    pub(super) tags: Vec<(String, String)>,
    /// Resources of the sidecar, by list and key.
    pub(super) resources: BTreeMap<(&'static str, &'static str), String>,
    pub(super) log_level: Option<&'static str>,
    /// Variables that are not wanted.
    pub(super) env_skip: BTreeSet<String>,
    /// What was not heeded, and why: in the pod's stamp.
    pub(super) notes: Vec<String>,
}

impl Wishes {
    /// Reads a pod's annotations; mode, transport and port go into the settings.
    pub(super) fn read(pod: &Pod<'_>, settings: &mut Settings) -> Result<Self, Skip> {
        let mut wishes = Self::default();
        wishes.name_unknown(pod);
        if let Some((key, mode)) = get(pod, "veneur.dev/mode") {
            let mode = match mode {
                "native" => Mode::Native,
                "classic" => Mode::Classic,
                "env-only" => Mode::EnvOnly,
                _ => return Err(invalid(key, mode, "none of native, classic and env-only")),
            };
            if settings.sidecar.enabled || mode == Mode::EnvOnly {
                settings.mode = mode;
            } else {
                wishes.notes.push(format!("{key}: not heeded, as the pipeline has sidecar.enabled: false"));
            }
        }
        wishes.transport(pod, settings)?;
        wishes.names(pod, settings)?;
        if let Some((key, text)) = get(pod, "veneur.dev/tags")
            && wishes.heeded(key, settings, Override::Tags)
        {
            wishes.tags = tags(key, text)?;
        }
        if let Some((key, text)) = get(pod, "veneur.dev/log-level")
            && wishes.heeded(key, settings, Override::LogLevel)
        {
            let level = LEVELS.into_iter().find(|level| level.eq_ignore_ascii_case(text));
            wishes.log_level =
                Some(level.ok_or_else(|| invalid(key, text, "none of error, warn, info, debug, trace"))?);
        }
        wishes.resources(pod, settings);
        Ok(wishes)
    }

    fn transport(&mut self, pod: &Pod<'_>, settings: &mut Settings) -> Result<(), Skip> {
        if let Some((key, transport)) = get(pod, "veneur.dev/transport")
            && self.heeded(key, settings, Override::Transport)
        {
            settings.sidecar.transport = match transport {
                "udp" => Transport::Udp,
                "uds" => Transport::Uds,
                "both" => Transport::UdpAndUds,
                _ => return Err(invalid(key, transport, "none of udp, uds and both")),
            };
        }
        if let Some((key, text)) = get(pod, "veneur.dev/port")
            && self.heeded(key, settings, Override::Transport)
        {
            let port = text.parse().ok().filter(|port| *port >= LOWEST_PORT);
            let port: u16 = port.ok_or_else(|| invalid(key, text, "no port from 1024 to 65535"))?;
            if port == ADMIN_PORT {
                return Err(invalid(key, text, "the sidecar's admin port"));
            }
            settings.sidecar.ports = vec![i32::from(port)];
        }
        Ok(())
    }

    fn names(&mut self, pod: &Pod<'_>, settings: &Settings) -> Result<(), Skip> {
        for key in ["veneur.dev/containers", "veneur.dev/exclude-containers", "veneur.dev/init-containers"] {
            let Some((_, text)) = get(pod, key) else { continue };
            if !self.heeded(key, settings, Override::Containers) {
                continue;
            }
            let none = key == "veneur.dev/init-containers" && text == "none";
            let names = if none { BTreeSet::new() } else { list(key, text)? };
            self.missing(pod, key, &names);
            match key {
                "veneur.dev/containers" => self.containers = Some(names),
                "veneur.dev/exclude-containers" => self.exclude_containers = names,
                _ => self.init_containers = Some(names),
            }
        }
        if let Some((key, text)) = get(pod, "veneur.dev/env-skip") {
            self.env_skip = list(key, text)?;
        }
        Ok(())
    }

    /// A name that no container bears is worth a word, not the sidecar: another webhook may add the container later.
    fn missing(&mut self, pod: &Pod<'_>, key: &str, names: &BTreeSet<String>) {
        let there: BTreeSet<&str> =
            pod.all_containers().map(super::pod::name).filter(|name| *name != super::sidecar::NAME).collect();
        let absent: Vec<&str> = names.iter().map(String::as_str).filter(|name| !there.contains(name)).collect();
        if !absent.is_empty() {
            self.notes.push(format!("{key}: the pod has no container {}", absent.join(", ")));
        }
    }

    fn resources(&mut self, pod: &Pod<'_>, settings: &Settings) {
        for (key, list, resource) in RESOURCES {
            let Some((_, amount)) = get(pod, key) else { continue };
            if !self.heeded(key, settings, Override::Resources) {
                continue;
            }
            if nanos(amount).is_none() {
                self.notes
                    .push(format!("{key}={amount:?} is no amount such as 50m or 64Mi: all resources are left out"));
                self.resources.clear();
                return;
            }
            self.resources.insert((list, resource), amount.to_owned());
        }
    }

    /// Whether an annotation is heeded; a note where not.
    fn heeded(&mut self, key: &str, settings: &Settings, group: Override) -> bool {
        let allowed = settings.allows(group);
        if !allowed {
            self.notes.push(format!("{key}: not heeded, as the pipeline's sidecar.allowOverrides lacks {group:?}"));
        }
        allowed
    }

    fn name_unknown(&mut self, pod: &Pod<'_>) {
        let keys = pod.annotations.into_iter().flat_map(|annotations| annotations.keys());
        for key in keys.filter(|key| key.starts_with("veneur.dev/") && !KNOWN.contains(&key.as_str())) {
            let nearest = KNOWN
                .into_iter()
                .map(|known| (strsim::damerau_levenshtein(key, known), known))
                .min()
                .filter(|(distance, _)| *distance <= 3);
            let hint = nearest.map(|(_, known)| format!("; did you mean {known}?")).unwrap_or_default();
            self.notes.push(format!("{key}: no annotation of this name is read{hint}"));
        }
    }
}

fn get<'a, 'k>(pod: &Pod<'a>, key: &'k str) -> Option<(&'k str, &'a str)> {
    Some((key, pod.annotation(key)?.trim()))
}

fn invalid(key: &str, value: &str, why: &str) -> Skip {
    let shown: String = value.chars().take(64).collect();
    SkipReason::InvalidAnnotation.because(format!("{key}={shown:?} is {why}"))
}

fn list(key: &str, text: &str) -> Result<BTreeSet<String>, Skip> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    if names.iter().any(|name| name.is_empty() || name.contains(char::is_whitespace)) {
        return Err(invalid(key, text, "no list of names with commas between them"));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// `key:value,key:value`.
fn tags(key: &str, text: &str) -> Result<Vec<(String, String)>, Skip> {
    let mut tags = BTreeMap::new();
    for tag in text.split(',').map(str::trim) {
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        let fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
            && !value.is_empty()
            && !value.contains(['|', '\n', '\r'])
            && tag.len() <= 200;
        if !fits {
            return Err(invalid(key, text, "no list of tags such as team:checkout,tier:web"));
        }
        if ["veneurglobalonly", "veneurlocalonly"].iter().any(|scope| name.starts_with(scope)) {
            return Err(invalid(key, text, "not taken: scopes are given by the pipeline's aggregation.scopes"));
        }
        tags.insert(name.to_owned(), value.to_owned());
    }
    if tags.len() > MOST_TAGS {
        return Err(invalid(key, text, "more than 32 tags"));
    }
    Ok(tags.into_iter().collect())
}
