//! Objects reach the API server: server-side apply, the whole desired object each time, one field manager.
//!
//! Applying what is already there writes nothing. A field that another manager owns is taken over: the pipeline is
//! where these objects are changed.

use k8s_openapi::{NamespaceResourceScope, api::apps::v1::Deployment};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};

use super::build::Resources;
use crate::labels::FIELD_MANAGER;

/// What the API server made of the Deployments, their status included.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The proxies.
    pub proxy: Deployment,
    /// The globals.
    pub global: Deployment,
}

/// The API server did not take an object.
#[derive(Debug, thiserror::Error)]
#[error("cannot apply {kind} {namespace}/{name}")]
pub struct ApplyError {
    /// Kind of the object.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What the API server said.
    #[source]
    pub source: Box<kube::Error>,
}

impl ApplyError {
    /// Reason in a condition.
    pub fn reason(&self) -> &'static str {
        match self.source.as_ref() {
            kube::Error::Api(status) if status.code == 403 && status.message.contains("exceeded quota") => {
                "QuotaExceeded"
            }
            kube::Error::Api(status) if status.code == 403 => "PermissionMissing",
            kube::Error::Api(status) if matches!(status.code, 400 | 422) => "AdmissionDenied",
            _ => "ApplyFailed",
        }
    }

    /// Message in a condition: the object and the API server's own words.
    pub fn message(&self) -> String {
        format!("{self}: {}", words(&self.source))
    }
}

/// The API server's own words; kube's `Display` would add the whole answer in debug form.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Applies every object. Those that others refer to go first: configuration and identity before pods, so that no pod
/// waits for them; globals before proxies, so that a new proxy finds its members.
pub async fn apply(client: &Client, resources: &Resources) -> Result<Applied, ApplyError> {
    // Without `..`, so that a new kind cannot be forgotten here.
    let Resources { config_map, service_account, role, role_binding, proxy_service, global_service, global, proxy } =
        resources;
    one(client, config_map).await?;
    one(client, service_account).await?;
    one(client, role).await?;
    one(client, role_binding).await?;
    one(client, proxy_service).await?;
    one(client, global_service).await?;
    let global = one(client, global).await?;
    let proxy = one(client, proxy).await?;
    Ok(Applied { proxy, global })
}

async fn one<K>(client: &Client, object: &K) -> Result<K, ApplyError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let objects: Api<K> = Api::namespaced(client.clone(), &namespace);
    objects
        .patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object))
        .await
        .map_err(|source| ApplyError { kind: K::kind(&()).into_owned(), namespace, name, source: Box::new(source) })
}
