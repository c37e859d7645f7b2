//! `/healthz` and `/readyz` for the kubelet, `/metrics` for Prometheus.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::{pipelines::Pipelines, serve::text, telemetry::Telemetry};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What must be true before pods are sent to the webhook.
#[derive(Debug, Clone)]
pub struct Readiness {
    pipelines: Pipelines,
    leaving: Arc<AtomicBool>,
    telemetry: Telemetry,
}

impl Readiness {
    /// Ready once the pipelines are known.
    pub fn new(pipelines: Pipelines, telemetry: Telemetry) -> Self {
        Self { pipelines, leaving: Arc::default(), telemetry }
    }

    /// The operator is about to end: no new pods, please.
    pub fn leaving(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    fn missing(&self) -> Option<&'static str> {
        if self.leaving.load(Ordering::Relaxed) {
            Some("ending")
        } else if self.pipelines.is_listed() {
            None
        } else {
            Some("pipelines are not listed yet: may the operator list veneurpipelines, and is the CRD installed?")
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
