//! Objects reach the API server: server-side apply, the whole desired object each time, one field manager.
//!
//! Applying what is already there writes nothing. A field that another manager owns is taken over: the pipeline is
//! where these objects are changed. An object that is not the pipeline's is never taken over: then nothing is written.

use futures::{FutureExt as _, future::try_join_all};
use k8s_openapi::{
    NamespaceResourceScope, api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::{Serialize, de::DeserializeOwned};
use veneur_operator_api::VeneurPipeline;

use super::build::Resources;
use crate::labels::FIELD_MANAGER;

/// What the API server made of the Deployments, their status included.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The proxies, if there are any.
    pub proxy: Option<Deployment>,
    /// The globals, if there are any.
    pub global: Option<Deployment>,
}

/// Why the objects are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name exists, and another pipeline's or no pipeline's. Nothing was written.
    #[error("{kind} {name} exists and is not this pipeline's: rename the pipeline or remove it")]
    NameTaken {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server did not answer what it has, or did not take an object.
    #[error("cannot {verb} {kind} {namespace}/{name}")]
    Refused {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    /// Reason in a condition.
    pub fn reason(&self) -> &'static str {
        let Self::Refused { source, .. } = self else { return "NameTaken" };
        match source.as_ref() {
            kube::Error::Api(status) if status.code == 403 && status.message.contains("exceeded quota") => {
                "QuotaExceeded"
            }
            kube::Error::Api(status) if status.code == 403 && lacks_permission(&status.message) => "PermissionMissing",
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => "AdmissionDenied",
            _ => "ApplyFailed",
        }
    }

    /// Message in a condition: the object and the API server's own words.
    pub fn message(&self) -> String {
        match self {
            Self::NameTaken { .. } => self.to_string(),
            Self::Refused { source, .. } => format!("{self}: {}", words(source)),
        }
    }

    fn refused<K>(verb: &'static str, object: &K, source: kube::Error) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self::Refused {
            verb,
            kind: K::kind(&()).into_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            source: Box::new(source),
        }
    }
}

/// Admission answers 403 too; only the wording tells which of both said no. RBAC's own, its rule against granting more
/// than one holds, and the rule on owner references that block deletion.
fn lacks_permission(message: &str) -> bool {
    let denied = message
        .split_once("User \"")
        .and_then(|(_, rest)| rest.split_once("\" cannot "))
        .is_some_and(|(_, rest)| rest.contains(" resource \""));
    denied
        || message.contains("attempting to grant RBAC permissions not currently held")
        || message.contains("cannot set blockOwnerDeletion")
}

/// The API server's own words; kube's `Display` would add the whole answer in debug form.
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Applies every object of the pipeline `owner`, or none where the name of one is taken.
///
/// Those that others refer to go first: configuration and identity before pods, so that no pod waits for them; globals
/// before proxies, so that a new proxy finds its members.
pub async fn apply(client: &Client, owner: &str, resources: &Resources) -> Result<Applied, ApplyError> {
    // Without `..`, so that a new kind cannot be forgotten here.
    let Resources {
        config_map,
        service_accounts,
        role,
        role_binding,
        services,
        certificate,
        network_policies,
        budgets,
        global,
        proxy,
        node,
        autoscalers,
        pod_monitor,
    } = resources;
    not_taken(client, owner, config_map).await?;
    try_join_all([
        all_free(client, owner, service_accounts).boxed(),
        all_free(client, owner, role.as_slice()).boxed(),
        all_free(client, owner, role_binding.as_slice()).boxed(),
        all_free(client, owner, services).boxed(),
        all_free(client, owner, network_policies).boxed(),
        all_free(client, owner, budgets).boxed(),
        all_free(client, owner, global.as_slice()).boxed(),
        all_free(client, owner, proxy.as_slice()).boxed(),
        all_free(client, owner, node.as_slice()).boxed(),
        all_free(client, owner, autoscalers).boxed(),
    ])
    .await?;
    one(client, config_map).await?;
    all(client, service_accounts).await?;
    all(client, role.as_slice()).await?;
    all(client, role_binding.as_slice()).await?;
    all(client, services).await?;
    foreign(client, certificate.as_ref()).await?;
    all(client, network_policies).await?;
    all(client, budgets).await?;
    let global = all(client, global.as_slice()).await?.pop();
    let proxy = all(client, proxy.as_slice()).await?.pop();
    all(client, node.as_slice()).await?;
    all(client, autoscalers).await?;
    foreign(client, pod_monitor.as_ref()).await?;
    Ok(Applied { proxy, global })
}

async fn all_free<K>(client: &Client, owner: &str, objects: &[K]) -> Result<(), ApplyError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    try_join_all(objects.iter().map(|object| not_taken(client, owner, object))).await.map(drop)
}

async fn all<K>(client: &Client, objects: &[K]) -> Result<Vec<K>, ApplyError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let mut applied = Vec::new();
    for object in objects {
        applied.push(one(client, object).await?);
    }
    Ok(applied)
}

/// Applies an object of a kind that this cluster may not know; then there is nothing to do.
async fn foreign(client: &Client, object: Option<&DynamicObject>) -> Result<(), ApplyError> {
    let Some((object, types)) = object.and_then(|object| Some((object, object.types.as_ref()?))) else { return Ok(()) };
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    match objects.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => {
            let (kind, source) = (types.kind.clone(), Box::new(source));
            Err(ApplyError::Refused { verb: "apply", kind, namespace, name, source })
        }
    }
}

/// An object of that name does not exist, or is the pipeline's. By name, not by uid: what is left of a pipeline that
/// was deleted and created anew is taken over.
async fn not_taken<K>(client: &Client, owner: &str, object: &K) -> Result<(), ApplyError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let objects: Api<K> = Api::namespaced(client.clone(), &namespace);
    let present = objects.get_metadata_opt(&name).await.map_err(|source| ApplyError::refused("get", object, source))?;
    match present {
        Some(present) if !is_controlled_by(present.owner_references(), owner) => {
            Err(ApplyError::NameTaken { kind: K::kind(&()).into_owned(), name })
        }
        _ => Ok(()),
    }
}

fn is_controlled_by(owners: &[OwnerReference], pipeline: &str) -> bool {
    owners.iter().any(|owner| {
        owner.controller == Some(true)
            && owner.kind == VeneurPipeline::kind(&())
            && owner.api_version.split('/').next() == Some(veneur_operator_api::GROUP)
            && owner.name == pipeline
    })
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
        .map_err(|source| ApplyError::refused("apply", object, source))
}

#[cfg(test)]
mod tests;
