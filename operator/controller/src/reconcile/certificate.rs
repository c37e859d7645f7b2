//! The tiers' certificate on a pipeline's way to its objects: what is recorded at its `ConfigMap` decides.

use std::time::{Duration, SystemTime};

use kube::ResourceExt as _;
use serde_json::Value;
use veneur_operator_api::TlsMode;

use super::{apply::Mode, build::Resources, validate::Validated};
use crate::{
    certificates::tier::{NoCertificate, RECORD, Record, Wanted},
    context::Context,
    feeds::Key,
    kind::Kind,
};

/// A pod that has not begun after so long waits for something that it mounts; a Secret that nobody may read can only be
/// written again.
const STUCK: Duration = Duration::from_mins(1);

/// Sees to it that the Secret is written where it has to be, and that the objects record it; when to look again.
pub(super) async fn keep(
    pipeline: &Validated,
    key: &Key,
    resources: &mut Resources,
    mode: Mode,
    context: &Context,
) -> Result<Duration, NoCertificate> {
    if pipeline.tls.mode != TlsMode::SelfSigned {
        return Ok(Duration::MAX);
    }
    let seen = context.live.get(Kind::ConfigMap, key, &resources.config_map.name_any());
    let known = seen.and_then(|seen| Record::of(seen.json()["metadata"]["annotations"][RECORD].as_str()?));
    let (record, again) = if mode == Mode::Paused {
        (known, Duration::MAX)
    } else {
        let certificates = context.certificates.as_ref().ok_or(NoCertificate::NotInstalled)?;
        let pods = context.live.of_pipeline(Kind::Pod, key);
        let waiting = pods.iter().any(|pod| is_waiting(&pod.json()));
        let now = SystemTime::now();
        let lost = |record: &Record| waiting && SystemTime::from(record.issued) + STUCK <= now;
        let wanted =
            Wanted { namespace: key.namespace.clone(), pipeline: key.name.clone(), owner: pipeline.owner.clone() };
        let (record, again) = certificates.ensure(&wanted, known.filter(|record| !lost(record))).await?;
        (Some(record), if waiting { again.min(STUCK) } else { again })
    };
    if let Some(record) = record {
        let annotations = resources.config_map.metadata.annotations.get_or_insert_default();
        annotations.insert(RECORD.to_owned(), record.annotation());
    }
    Ok(again)
}

/// A pod that has a node, and whose container is still being set up.
fn is_waiting(pod: &Value) -> bool {
    let containers = pod["status"]["containerStatuses"].as_array();
    containers.into_iter().flatten().any(|container| container["state"]["waiting"]["reason"] == "ContainerCreating")
}

#[cfg(test)]
mod tests;
