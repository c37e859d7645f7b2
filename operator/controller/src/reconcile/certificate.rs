//! The tiers' certificate on a pipeline's way to its objects: what is recorded at its `ConfigMap` decides.
//!
//! Law: what runs has a certificate that does not end, also where nothing else is written.

use std::time::{Duration, SystemTime};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;
use veneur_operator_api::TlsMode;

use super::{apply::Mode, build::Resources, validate::Validated};
use crate::{
    certificates::tier::{NoCertificate, RECORD, Record, Wanted},
    context::Context,
    feeds::Key,
    kind::Kind,
    labels::config_name,
    live::Knowledge,
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
    let encrypted = pipeline.tls.mode == TlsMode::SelfSigned;
    let (record, again) = if mode == Mode::Paused {
        let again = keep_running(key, pipeline.owner.clone(), context).await?;
        // What is recorded stays, or its object would seem to differ from the spec.
        (recorded(key, context).filter(|_| encrypted), again)
    } else if encrypted {
        let certificates = context.certificates.as_ref().ok_or(NoCertificate::NotInstalled)?;
        let pods = context.live.of_pipeline(Kind::Pod, key);
        let waiting = pods.iter().any(|pod| is_waiting(&pod.json()));
        let now = SystemTime::now();
        let lost = |record: &Record| waiting && SystemTime::from(record.issued) + STUCK <= now;
        let known = recorded(key, context).filter(|record| !lost(record));
        let (record, again) = certificates.ensure(&wanted(key, pipeline.owner.clone()), known).await?;
        (Some(record), if waiting { again.min(STUCK) } else { again })
    } else {
        (None, Duration::MAX)
    };
    if let Some(record) = record {
        let annotations = resources.config_map.metadata.annotations.get_or_insert_default();
        annotations.insert(RECORD.to_owned(), record.annotation());
    }
    Ok(again)
}

/// The same where objects are left alone, as of a pipeline that is paused or whose spec is not accepted: its tiers run on,
/// with the certificate that is recorded, whatever the spec says by now.
pub(super) async fn keep_running(
    key: &Key,
    owner: Option<OwnerReference>,
    context: &Context,
) -> Result<Duration, NoCertificate> {
    if matches!(context.live.knowledge(Kind::ConfigMap), Knowledge::Refused(_)) {
        // Nobody knows what runs: the next authority waits.
        return Ok(Duration::MAX);
    }
    let recorded = recorded(key, context);
    match &context.certificates {
        Some(certificates) => certificates.renew(&wanted(key, owner), recorded).await,
        None if recorded.is_some() => Err(NoCertificate::NotInstalled),
        None => Ok(Duration::MAX),
    }
}

fn recorded(key: &Key, context: &Context) -> Option<Record> {
    let seen = context.live.get(Kind::ConfigMap, key, &config_name(&key.name))?;
    Record::of(seen.json()["metadata"]["annotations"][RECORD].as_str()?)
}

fn wanted(key: &Key, owner: Option<OwnerReference>) -> Wanted {
    Wanted { namespace: key.namespace.clone(), pipeline: key.name.clone(), owner }
}

/// A pod that has a node, and whose container is still being set up.
fn is_waiting(pod: &Value) -> bool {
    let containers = pod["status"]["containerStatuses"].as_array();
    containers.into_iter().flatten().any(|container| container["state"]["waiting"]["reason"] == "ContainerCreating")
}

#[cfg(test)]
mod tests;
