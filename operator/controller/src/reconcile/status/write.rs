//! A status reaches the API server, if it says something new.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Client, Resource as _,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::json;
use veneur_operator_api::{VeneurPipeline, VeneurPipelineStatus};

use super::{Around, Outcome, status};
use crate::labels::STATUS_MANAGER;

/// Writes a status. By server-side apply, or for an object that cannot be decoded by a merge patch, whose answer is
/// not decoded either.
pub async fn write(
    client: &Client,
    namespace: &str,
    name: &str,
    status: &VeneurPipelineStatus,
) -> Result<(), kube::Error> {
    let resource = ApiResource::erase::<VeneurPipeline>(&());
    let pipelines: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let body = json!({
        "apiVersion": VeneurPipeline::api_version(&()),
        "kind": VeneurPipeline::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    pipelines.patch_status(name, &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(body)).await.map(drop)
}

/// Writes the status of an object that this operator cannot decode, unless it already says so.
pub async fn write_undecodable(client: &Client, namespace: &str, name: &str, now: &Time) -> Result<(), kube::Error> {
    let resource = ApiResource::erase::<VeneurPipeline>(&());
    let pipelines: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let Some(object) = pipelines.get_opt(name).await? else {
        return Ok(());
    };
    let before: Option<VeneurPipelineStatus> =
        object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    let Some(problem) = undecodable(&object) else { return Ok(()) };
    tracing::warn!(%namespace, %name, problem, "Pipeline does not decode");
    let outcome = Outcome::Undecodable(problem);
    let after = status(before.as_ref(), object.metadata.generation, &outcome, &Around::default(), now);
    if before.as_ref() == Some(&after) {
        return Ok(());
    }
    let params = PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() };
    pipelines.patch_status(name, &params, &Patch::Merge(json!({"status": after}))).await.map(drop)
}

/// Which field does not fit; nothing if the object was mended meanwhile.
fn undecodable(object: &DynamicObject) -> Option<String> {
    let error = serde_path_to_error::deserialize::<_, VeneurPipeline>(json!(object)).err()?;
    Some(format!(
        "{}: {}: written under another definition than this operator's, change the field or install its definition",
        error.path(),
        error.inner()
    ))
}
