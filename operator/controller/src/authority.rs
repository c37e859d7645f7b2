//! Where the webhook's authority lives: one Secret for all replicas, and the `caBundle` of the webhook configuration.
//!
//! Whichever replica comes first creates the Secret; the others lose the race to create it and read it. The chart
//! renders no certificate, and owns every other field of the webhook configuration.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    certificate::Authority,
    labels::{CA_MANAGER, FIELD_MANAGER},
};

/// How often the webhook configuration is looked at: it may be rendered anew without its `caBundle`.
const LOOK: Duration = Duration::from_secs(30);
/// Wait after a first failure to publish, doubled up to [`LOOK`].
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Reads the authority, or makes the one that all replicas will read.
pub async fn load_or_create(client: &Client, namespace: &str, secret: &str) -> anyhow::Result<Authority> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if let Some(found) =
        secrets.get_opt(secret).await.with_context(|| format!("reading secret {namespace}/{secret}"))?
    {
        return read(&found, namespace, secret);
    }
    let authority = Authority::generate(SystemTime::now())?;
    let data = [("ca.crt", authority.certificate_pem().to_owned()), ("ca.key", authority.key_pem())];
    let object = Secret {
        metadata: ObjectMeta {
            name: Some(secret.to_owned()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).into()),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &object).await {
        Ok(_) => {
            tracing::info!(%namespace, secret, "Created the webhook's authority");
            Ok(authority)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => read(&secrets.get(secret).await?, namespace, secret),
        Err(error) => Err(error).with_context(|| format!("creating secret {namespace}/{secret}")),
    }
}

fn read(object: &Secret, namespace: &str, secret: &str) -> anyhow::Result<Authority> {
    let entry = |key: &str| {
        let bytes = object.data.as_ref().and_then(|data| data.get(key));
        bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok())
    };
    let (Some(key), Some(certificate)) = (entry("ca.key"), entry("ca.crt")) else {
        bail!("secret {namespace}/{secret} lacks ca.key or ca.crt: delete it, it is made anew");
    };
    Authority::from_pem(&key, &certificate)
        .with_context(|| format!("secret {namespace}/{secret} holds no usable authority: delete it, it is made anew"))
}

/// Keeps the `caBundle` of every webhook in `configuration` at `bundle_pem`, until `stop`.
pub async fn publish(client: Client, configuration: String, bundle_pem: String, stop: CancellationToken) {
    let mut wait = FIRST_RETRY;
    loop {
        match publish_once(&client, &configuration, &bundle_pem).await {
            Ok(written) => {
                if written {
                    tracing::info!(configuration, "Published the webhook's authority");
                }
                wait = LOOK;
            }
            Err(error) => {
                tracing::warn!(configuration, error = format!("{error:#}"), "Cannot publish the webhook's authority");
                wait = if wait == LOOK { FIRST_RETRY } else { (wait * 2).min(LOOK) };
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn publish_once(client: &Client, configuration: &str, bundle_pem: &str) -> anyhow::Result<bool> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let found = configurations.get(configuration).await.context("reading the webhook configuration")?;
    let bundle = ByteString(bundle_pem.as_bytes().to_vec());
    let webhooks = found.webhooks.unwrap_or_default();
    if webhooks.iter().all(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&bundle)) {
        return Ok(false);
    }
    // Only the bundles: every other field stays its owner's.
    let ours: Vec<_> =
        webhooks.iter().map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}})).collect();
    let body = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": configuration},
        "webhooks": ours,
    });
    let params = PatchParams::apply(CA_MANAGER).force();
    configurations.patch(configuration, &params, &Patch::Apply(body)).await.context("applying the bundle")?;
    Ok(true)
}
