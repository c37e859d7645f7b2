//! The mutating webhook: an `AdmissionReview` in, the same with an answer out.
//!
//! An answer always allows the pod. What goes wrong with a pod goes into the log; it starts without a sidecar. Where too
//! little is known to tell whether it should have one there is no answer but an error, and the entry's `failurePolicy`
//! decides: a namespace labelled `strict` gets no pod by it.

mod notices;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    certificates::tier::TierCertificates,
    context::Defaults,
    injection::{self, Outcome, SkipReason},
    namespaces::Namespaces,
    pipelines::Pipelines,
    serve::text,
    telemetry::{Decision, Telemetry},
};
pub use notices::{NoticeWriter, Notices, notices};

/// Path of the webhook.
pub const PATH: &str = "/inject";
/// Longest review, in bytes: two pods of the API server's own limit of 1.5 MiB each.
const LONGEST_REVIEW: usize = 3 * 1024 * 1024;
/// Below the API server's timeout of 5 s, so that the answer still arrives.
const PATIENCE: Duration = Duration::from_secs(4);

/// Answers reviews from the pipelines as last seen: no request to the API server for a pod.
#[derive(Clone)]
pub struct Webhook {
    pipelines: Pipelines,
    namespaces: Namespaces,
    defaults: Arc<Defaults>,
    notices: Notices,
    /// The operator's authority for the tiers, if it has one.
    certificates: Option<Arc<TierCertificates>>,
    telemetry: Telemetry,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("defaults", &self.defaults).finish_non_exhaustive()
    }
}

impl Webhook {
    /// A webhook over these pipelines and namespaces.
    pub fn new(pipelines: Pipelines, namespaces: Namespaces, defaults: Defaults, notices: Notices) -> Self {
        let telemetry = Telemetry::new();
        Self { pipelines, namespaces, defaults: Arc::new(defaults), notices, certificates: None, telemetry }
    }

    /// The same, with the operator's authority for the tiers, which sidecars are to trust.
    #[must_use]
    pub fn trusting(self, certificates: Option<Arc<TierCertificates>>) -> Self {
        Self { certificates, ..self }
    }

    /// The same, counted there.
    #[must_use]
    pub fn counted(self, telemetry: Telemetry) -> Self {
        Self { telemetry, ..self }
    }

    /// Answers a request of the API server.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != PATH {
            return text(StatusCode::NOT_FOUND, "only /inject is here\n");
        }
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "post an AdmissionReview\n");
        }
        let body = match timeout(PATIENCE, Limited::new(request.into_body(), LONGEST_REVIEW).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                return text(StatusCode::PAYLOAD_TOO_LARGE, format!("cannot read the review: {error}\n"));
            }
            Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the review did not arrive in time\n"),
        };
        let begun = Instant::now();
        let Ok(review) = serde_json::from_slice::<Value>(&body) else {
            return text(StatusCode::BAD_REQUEST, "the body is no JSON\n");
        };
        // As each replica's own probe posts it: nobody's pod, and so nothing to count.
        let Some(pod) = review.pointer("/request/object") else {
            return reviewed(&review, &Outcome::Untouched);
        };
        let outcome = match self.review(&review["request"], pod).await {
            Ok(outcome) => outcome,
            Err(unknown) => {
                tracing::warn!(%unknown, "Review answered with an error, as too little is known for another answer");
                self.telemetry.admitted(Decision::Failed, None, begun.elapsed());
                return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{unknown}\n"));
            }
        };
        let (decision, reason) = decision(&outcome);
        self.telemetry.admitted(decision, reason, begun.elapsed());
        reviewed(&review, &outcome)
    }

    /// What becomes of the pod of a request.
    async fn review(&self, request: &Value, pod: &Value) -> Result<Outcome, Unknown> {
        if !self.pipelines.wait_until_listed(PATIENCE).await {
            return Err(Unknown::Pipelines);
        }
        let namespace = request.get("namespace").and_then(Value::as_str).unwrap_or_default();
        let labelled = self.namespaces.get(namespace).await.ok_or_else(|| Unknown::Namespace(namespace.to_owned()))?;
        let authority = self.certificates.as_ref().map(|certificates| certificates.bundle()).unwrap_or_default();
        let decided = catch_unwind(AssertUnwindSafe(|| {
            self.pipelines.with(|pipelines| injection::decide(pod, &labelled, pipelines, &self.defaults, &authority))
        }));
        let outcome = decided.unwrap_or_else(|_| injection::failed(pod));
        let metadata = pod.get("metadata");
        let name =
            ["name", "generateName"].into_iter().find_map(|key| metadata?.get(key)?.as_str()).unwrap_or_default();
        match &outcome {
            Outcome::Untouched => tracing::debug!(namespace, pod = name, "Pod left alone"),
            Outcome::Injected { stamp, patch } => {
                let (pipeline, again) = (&stamp.pipeline, patch.is_empty());
                tracing::info!(namespace, pod = name, %pipeline, notes = ?stamp.notes, again, "Pod injected");
            }
            Outcome::Skipped { skip, .. } => tracing::warn!(namespace, pod = name, reason = %skip, "Pod skipped"),
        }
        if request.get("dryRun").and_then(Value::as_bool) != Some(true) {
            self.notices.tell(pod, namespace, &outcome);
        }
        Ok(outcome)
    }
}

/// What has to be known for an answer, and is not.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("the pipelines are not listed yet")]
    Pipelines,
    #[error("namespace {0:?} was not seen yet")]
    Namespace(String),
}

/// How an outcome is counted. A mistake of ours is a failure, which somebody is alerted of, and not the pod's.
fn decision(outcome: &Outcome) -> (Decision, Option<SkipReason>) {
    match outcome {
        Outcome::Untouched => (Decision::Untouched, None),
        Outcome::Injected { .. } => (Decision::Injected, None),
        Outcome::Skipped { skip, .. } if skip.reason == SkipReason::InternalError => {
            (Decision::Failed, Some(skip.reason))
        }
        Outcome::Skipped { skip, .. } => (Decision::Skipped, Some(skip.reason)),
    }
}

/// The review with its answer: allowed, with a patch where there is one, and with what its author should know. kubectl
/// shows that for pods, whose controllers, if any, are told by an event.
fn reviewed(review: &Value, outcome: &Outcome) -> Response<Full<Bytes>> {
    let uid = review.pointer("/request/uid").cloned().unwrap_or_default();
    let mut answer = json!({"uid": uid, "allowed": true});
    let patch = outcome.patch();
    if !patch.is_empty() {
        answer["patchType"] = json!("JSONPatch");
        answer["patch"] = json!(STANDARD.encode(patch.to_json().to_string()));
    }
    match outcome {
        Outcome::Skipped { skip, .. } => answer["warnings"] = json!([format!("veneur: not injected: {skip}")]),
        Outcome::Injected { stamp, .. } if !stamp.notes.is_empty() => {
            answer["warnings"] = stamp.notes.iter().map(|note| format!("veneur: {note}")).collect();
        }
        _ => {}
    }
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer});
    let mut response = text(StatusCode::OK, body.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
