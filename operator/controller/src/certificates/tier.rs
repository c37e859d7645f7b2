//! Certificates of the tiers: for each pipeline that asks, one Secret `NAME-tls` in its namespace, which the operator
//! writes and never reads.
//!
//! One authority, in the operator's namespace, signs for all pipelines. What decides about renewal is in a [`Record`],
//! which the caller keeps where the operator may read: as an annotation of an object of the pipeline. A crash between
//! the Secret and the record costs one more certificate and nothing else.
//!
//! Not here: who mounts the Secret; when the authority rotates ([`crate::certificates::keyring`]); where it is kept
//! ([`crate::certificates::authority`]).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use veneur_operator_api::{TlsMode, VeneurPipeline};

use crate::{
    certificates::{
        authority::{Kept, Safe},
        certificate::{CertificateError, Purpose},
        keyring::Keyring,
    },
    labels::{FIELD_MANAGER, labels, tls_name},
    pipelines::Pipelines,
    reconcile::{build::certificate_names, revision},
};

/// Annotation in which a [`Record`] is kept.
pub const RECORD: &str = "veneur.dev/certificate";

/// The pipeline that a certificate is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pipeline: String,
    /// Makes the pipeline the owner of the Secret.
    pub owner: Option<OwnerReference>,
}

/// What is known of a Secret that may not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Hash of the bundle in `ca.crt`, whose first certificate signed `tls.crt`.
    pub bundle: String,
    /// Hash of the names.
    pub names: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// From then on there is to be a new one: two thirds of its life.
    pub renew: Timestamp,
}

impl Record {
    /// The record of an annotation; none where it cannot be read.
    pub fn of(annotation: &str) -> Option<Self> {
        serde_json::from_str(annotation).ok()
    }

    /// As an annotation.
    pub fn annotation(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

/// Why there is to be a new certificate; none where the recorded one is good.
pub fn due(record: Option<&Record>, keyring: &Keyring, names: &[String], now: SystemTime) -> Option<&'static str> {
    let Some(record) = record else { return Some("there is none") };
    if record.bundle != revision::of(&keyring.bundle()) {
        return Some("authorities have changed");
    }
    if record.names != revision::of(&names.join(",")) {
        return Some("names have changed");
    }
    (SystemTime::from(record.renew) <= now).then_some("its time has come")
}

/// The Secret with a new certificate, and the record of it.
pub fn issue(
    wanted: &Wanted,
    keyring: &Keyring,
    life: Duration,
    now: SystemTime,
) -> Result<(Secret, Record), CertificateError> {
    let names = certificate_names(&wanted.pipeline, &wanted.namespace);
    let hash = revision::of(&names.join(","));
    let leaf = keyring.current.sign(&Purpose { names, client: true, life }, now)?;
    let left = leaf.certificate.expires.duration_since(now).unwrap_or(Duration::ZERO);
    let bundle = keyring.bundle();
    // Whole seconds: nobody wants to read more.
    let time = |time: SystemTime| {
        Timestamp::try_from(time).and_then(|time| Timestamp::from_second(time.as_second())).unwrap_or(Timestamp::MAX)
    };
    let (issued, renew) = (time(now), time(now + left * 2 / 3));
    let record = Record { bundle: revision::of(&bundle), names: hash, issued, renew };
    let entry = |key: &str, text: String| (key.to_owned(), ByteString(text.into_bytes()));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(tls_name(&wanted.pipeline)),
            namespace: Some(wanted.namespace.clone()),
            labels: Some(labels(&wanted.pipeline, None)),
            owner_references: wanted.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(BTreeMap::from([
            entry("tls.crt", leaf.certificate.pem),
            entry("tls.key", leaf.key_pem),
            entry("ca.crt", bundle),
        ])),
        ..Secret::default()
    };
    Ok((secret, record))
}

/// Why a pipeline has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum NoCertificate {
    /// The chart was installed without.
    #[error(
        "the operator makes no certificates for tiers: install its chart with rbac.tierCertificates=true, \
         or set tls.mode to CertManager or Disabled"
    )]
    NotInstalled,
    /// It cannot be signed.
    #[error("cannot sign the certificate of the tiers")]
    Signing(#[from] CertificateError),
    /// A Secret of that name has entries of somebody else.
    #[error("secret {namespace}/{name} is somebody else's: remove it, or rename the pipeline")]
    Taken {
        /// Namespace of the Secret.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The API server did not take the Secret.
    #[error("cannot write secret {namespace}/{name}")]
    Refused {
        /// Namespace of the Secret.
        namespace: String,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Keeps the Secrets of all pipelines; used by the leader's reconciliations.
pub struct TierCertificates {
    client: Client,
    safe: Safe,
    keyring: watch::Receiver<Kept>,
    /// What each pipeline was last seen to have, by namespace and name; none, where it is given nothing as things are.
    has: Mutex<HashMap<(String, String), Option<Record>>>,
}

impl std::fmt::Debug for TierCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierCertificates").field("safe", &self.safe).finish_non_exhaustive()
    }
}

impl TierCertificates {
    /// Over the authority of all tiers.
    pub fn new(client: Client, safe: Safe) -> Self {
        let keyring = safe.keyring();
        Self { client, safe, keyring, has: Mutex::default() }
    }

    /// Where the authority is kept.
    pub fn safe(&self) -> &Safe {
        &self.safe
    }

    /// What sidecars are to trust, in PEM.
    pub fn bundle(&self) -> String {
        self.keyring.borrow().keyring.bundle()
    }

    /// Writes the Secret where what is recorded of it asks for that; the record to keep, and when to ask again.
    ///
    /// Without force: entries of a Secret that is somebody else's are not taken over. The answer is asked for without
    /// the data.
    pub async fn ensure(&self, wanted: &Wanted, record: Option<Record>) -> Result<(Record, Duration), NoCertificate> {
        let keyring = Arc::clone(&self.keyring.borrow().keyring);
        let now = SystemTime::now();
        let why = due(record.as_ref(), &keyring, &certificate_names(&wanted.pipeline, &wanted.namespace), now);
        let record = match (record, why) {
            (Some(record), None) => record,
            (_, why) => {
                let (secret, record) = issue(wanted, &keyring, self.safe.lifetimes().leaf, now)?;
                self.write(wanted, &secret).await?;
                let (namespace, name) = (&wanted.namespace, &wanted.pipeline);
                tracing::info!(namespace, name, action = "certificate", why, renew = %record.renew, "Certificate of the tiers issued");
                record
            }
        };
        self.note(wanted, Some(record.clone()));
        let left = SystemTime::from(record.renew).duration_since(now).unwrap_or(Duration::ZERO);
        Ok((record, left.min(self.safe.lifetimes().settle / 2)))
    }

    /// The same for a pipeline whose objects are left alone, and so what is `recorded` at them: what was issued since is
    /// remembered here. A leader that begins knows it not, which costs one more certificate. Where nothing is recorded
    /// nothing of ours runs.
    pub async fn renew(&self, wanted: &Wanted, recorded: Option<Record>) -> Result<Duration, NoCertificate> {
        let Some(recorded) = recorded else {
            self.note(wanted, None);
            return Ok(Duration::MAX);
        };
        let remembered = self.has().get(&id(wanted)).cloned().flatten();
        let newest = remembered.filter(|known| known.issued > recorded.issued).unwrap_or(recorded);
        self.ensure(wanted, Some(newest)).await.map(|(_, again)| again)
    }

    fn has(&self) -> MutexGuard<'_, HashMap<(String, String), Option<Record>>> {
        self.has.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, wanted: &Wanted, record: Option<Record>) {
        self.has().insert(id(wanted), record);
    }

    async fn write(&self, wanted: &Wanted, secret: &Secret) -> Result<(), NoCertificate> {
        let (namespace, name) = (wanted.namespace.clone(), tls_name(&wanted.pipeline));
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        match secrets.patch_metadata(&name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(secret)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(NoCertificate::Taken { namespace, name }),
            Err(source) => Err(NoCertificate::Refused { namespace, name, source: Box::new(source) }),
        }
    }

    /// Takes the steps of the authority until `stop`; for the leader alone. A bundle is published when every pipeline
    /// that asks for certificates has it.
    pub async fn rotate(self: Arc<Self>, pipelines: Pipelines, stop: CancellationToken) {
        loop {
            let everywhere = self.all_have(&pipelines, &revision::of(&self.bundle()));
            if let Err(error) = self.safe.advance(Some(everywhere)).await {
                tracing::warn!(error = format!("{error:#}"), "Cannot keep the tiers' authority, trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.safe.pace()) => {}
            }
        }
    }

    fn all_have(&self, pipelines: &Pipelines, bundle: &str) -> bool {
        let has = self.has();
        pipelines.is_listed()
            && pipelines.with(|pipelines| {
                pipelines.iter().filter(|pipeline| asks(pipeline)).all(|pipeline| {
                    let key = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
                    has.get(&key).is_some_and(|known| known.as_ref().is_none_or(|record| record.bundle == bundle))
                })
            })
    }
}

fn id(wanted: &Wanted) -> (String, String) {
    (wanted.namespace.clone(), wanted.pipeline.clone())
}

/// Whether the operator makes a pipeline's certificates.
fn asks(pipeline: &VeneurPipeline) -> bool {
    pipeline.spec.tls.mode == TlsMode::SelfSigned
}

#[cfg(test)]
mod tests;
