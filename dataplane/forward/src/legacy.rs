//! Batches to peers that import over HTTP: dialect A, `POST /import`.

use std::{
    io::{ErrorKind, Write as _},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, write::ZlibEncoder};
use http::{
    Request, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use prost::Message as _;
use tokio::net::TcpStream;
use veneur_wire::{legacy, metricpb::Metric};

use crate::{
    batch::Batch,
    client::{Outcome, Sent, chain},
    connect::{Failure, Manner},
};

/// Most of an answer that is read: enough to keep the connection, and to say what was wrong.
const LARGEST_ANSWER: usize = 4 * 1024;

/// Shorter than Go's servers keep a connection that nothing is sent over.
const IDLE: Duration = Duration::from_secs(30);

/// Posts to one address, `http://HOST:PORT`, with a path before `/import` if it has one.
#[derive(Debug)]
pub(crate) struct Poster {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    manner: Arc<Manner>,
    /// Whether it took the last connection and, since, answered for every batch.
    reached: bool,
}

impl Poster {
    pub(crate) fn new(address: &str, manner: Arc<Manner>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(manner.connect_timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client, url: format!("{}/import", address.trim_end_matches('/')), manner, reached: false }
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.reached
    }

    /// Asks whether the peer takes connections; there is nothing else that does no harm.
    pub(crate) async fn reach(&mut self) -> Result<(), Failure> {
        let uri: http::Uri = self.url.parse().map_err(|error| self.no_address(&error))?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let connecting = TcpStream::connect((host, uri.port_u16().unwrap_or(80)));
        let within = self.manner.connect_timeout;
        let connected = tokio::time::timeout(within, connecting).await;
        connected
            .map_err(|_| Failure::silent(within))?
            .map_err(|error| Failure { silent: error.kind() == ErrorKind::HostUnreachable, problem: chain(&error) })?;
        self.reached = true;
        Ok(())
    }

    fn no_address(&self, error: &dyn std::error::Error) -> Failure {
        Failure::refused(format!("{} is not an address: {error}", self.url))
    }

    /// Posts what of a batch a body can carry, and waits for the answer.
    pub(crate) async fn send(&mut self, mut batch: Batch) -> Sent {
        let unsendable = batch.metrics.keep(|_, message| carries(message));
        let outcome = if batch.is_empty() { Outcome::Acknowledged(0) } else { self.post(batch).await };
        self.reached &= matches!(outcome, Outcome::Acknowledged(_) | Outcome::Rejected(..));
        Sent { unsendable, outcome }
    }

    async fn post(&self, batch: Batch) -> Outcome {
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "deflate")
            .body(Full::new(deflated(&legacy::write(batch.metrics.metrics()))));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Outcome::NotSent(batch, self.no_address(&error)),
        };
        let within = self.manner.answer_timeout;
        match tokio::time::timeout(within, self.answer(request)).await {
            Ok(Ok((StatusCode::OK | StatusCode::ACCEPTED, _))) => Outcome::Acknowledged(batch.len()),
            Ok(Ok((status, text))) => answered(status, &text, batch),
            Ok(Err(error)) if error.is_connect() => Outcome::NotSent(batch, Failure::refused(chain(&error))),
            Ok(Err(error)) => Outcome::Uncertain(batch.len(), chain(&error)),
            Err(_) => Outcome::Uncertain(batch.len(), format!("not answered within {within:?}")),
        }
    }

    /// Status and beginning of the answer.
    async fn answer(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, String), hyper_util::client::legacy::Error> {
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
        Ok((status, text.unwrap_or_default()))
    }
}

/// What an answer other than yes means. Importers look at all of a body before they take anything of it, and a server
/// without this path takes nothing: what is the sender's fault has not been read. Other failures may come half-way.
fn answered(status: StatusCode, text: &str, batch: Batch) -> Outcome {
    let problem = format!("status {}: {text}", status.as_u16());
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::NotSent(batch, Failure::refused(problem))
        }
        status if status.is_client_error() => Outcome::Rejected(batch.len(), problem),
        _ => Outcome::Uncertain(batch.len(), problem),
    }
}

fn carries(message: &Bytes) -> bool {
    Metric::decode(message.clone()).is_ok_and(|metric| legacy::carries(&metric))
}

/// What the original calls deflate: zlib's format.
fn deflated(body: &[u8]) -> Bytes {
    let mut zlib = ZlibEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let written = zlib.write_all(body).and_then(|()| zlib.finish());
    written.expect("memory takes what is written to it").into()
}
