//! `/healthz` and `/readyz` for the kubelet, `/metrics` for Prometheus.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::{namespaces::Namespaces, pipelines::Pipelines, serve::text, telemetry::Telemetry};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What must be true before pods are sent to the webhook.
#[derive(Debug, Clone)]
pub struct Readiness {
    pipelines: Pipelines,
    namespaces: Namespaces,
    leaving: Arc<AtomicBool>,
    telemetry: Telemetry,
}

impl Readiness {
    /// Ready once the pipelines are known, and the namespaces, unless the operator may not look at those.
    pub fn new(pipelines: Pipelines, namespaces: Namespaces, telemetry: Telemetry) -> Self {
        Self { pipelines, namespaces, leaving: Arc::default(), telemetry }
    }

    /// The operator is about to end: no new pods, please.
    pub fn leaving(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    fn missing(&self) -> Option<&'static str> {
        if self.leaving.load(Ordering::Relaxed) {
            Some("ending")
        } else if !self.pipelines.is_listed() {
            Some("pipelines are not listed yet: may the operator list veneurpipelines, and is the CRD installed?")
        } else if !self.namespaces.is_settled() {
            Some("namespaces are not listed yet: does the API server answer?")
        } else {
            None
        }
    }

    /// Answers a probe.
    pub fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.missing() {
                None => text(StatusCode::OK, "ok\n"),
                Some(missing) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
            },
            "/metrics" => {
                let mut page = text(StatusCode::OK, self.telemetry.text());
                page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
                page
            }
            _ => text(StatusCode::NOT_FOUND, "only /healthz, /readyz and /metrics are here\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{namespaces::namespaces, pipelines::pipelines, test_support::api_server};

    /// A pod of a namespace that is not known yet would be taken for one that nobody asked for.
    #[tokio::test]
    async fn pods_are_awaited_once_pipelines_and_namespaces_are_known() {
        let (client, _) = api_server(|method, path, _| {
            let none = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": []});
            (method == "GET" && !path.contains("watch=true")).then_some((200, none))
        });
        let ((pipelines, pipeline_watch), (unknown, _keep)) = (pipelines(), namespaces());
        let ready = |namespaces: &Namespaces| {
            Readiness::new(pipelines.clone(), namespaces.clone(), Telemetry::new()).missing().is_none()
        };
        let known = Namespaces::of([]);
        assert!(!ready(&known));
        let stop = CancellationToken::new();
        let listed = async {
            assert!(pipelines.wait_until_listed(Duration::from_secs(10)).await, "the pipelines are listed");
            stop.cancel();
        };
        futures::future::join(listed, pipeline_watch.run(client, stop.clone())).await;
        assert!(ready(&known));
        assert!(!ready(&unknown));
    }
}
