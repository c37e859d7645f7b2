//! `/healthz` and `/readyz`, for the kubelet.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::{pipelines::Pipelines, serve::text};

/// What must be true before pods are sent to the webhook.
#[derive(Debug, Clone)]
pub struct Readiness {
    pipelines: Pipelines,
    leaving: Arc<AtomicBool>,
}

impl Readiness {
    /// Ready once the pipelines are known.
    pub fn new(pipelines: Pipelines) -> Self {
        Self { pipelines, leaving: Arc::default() }
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
            _ => text(StatusCode::NOT_FOUND, "only /healthz and /readyz are here\n"),
        }
    }
}
