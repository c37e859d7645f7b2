//! Sends bodies of partials at a rate, one request after the other; behind a proxy no faster than they come out again.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{
    Request, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, TE},
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    bodies::{Body, Dialect},
    importer::Arrived,
};

/// Longest time without an answer, or without anything coming out of a proxy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bodies that may be inside a proxy.
const INSIDE: u64 = 8;

/// How often, and how long, a proxy is waited for to connect to the importer.
const OPENINGS: u32 = 10;
const OPENING: Duration = Duration::from_secs(2);

/// How much, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Partials a second; 0 is as fast as can be.
    pub partials_per_second: u64,
    /// No body is begun later.
    pub duration: Duration,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Forwarded {
    /// Partials that were answered for.
    pub partials: u64,
    /// Partials that came out of the proxy.
    pub arrived: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// From the first to the last.
    pub seconds: f64,
}

/// Sends `bodies` to `to`, `HOST:PORT`. What comes out of a proxy is seen at `arrived`.
pub async fn forward(
    to: &str,
    dialect: Dialect,
    bodies: impl Iterator<Item = Body>,
    pace: Pace,
    arrived: Option<Arc<Arrived>>,
) -> Result<Forwarded> {
    let uri: Uri = format!("http://{to}{}", dialect.path()).parse().context("no address")?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).http2_only(dialect != Dialect::A).build(connector);
    let client = Requests { client, uri, dialect };
    let mut sent = Forwarded::default();
    let mut bodies = bodies.peekable();
    if let (Some(arrived), Some(first)) = (&arrived, bodies.peek()) {
        open(&client, first, arrived).await?;
        sent.partials = arrived.partials();
    }
    let begun = Instant::now();
    let mut due = begun;
    for body in bodies {
        sleep_until(due).await;
        if begun.elapsed() >= pace.duration {
            break;
        }
        if pace.partials_per_second > 0 {
            due += Duration::from_secs_f64(body.partials as f64 / pace.partials_per_second as f64);
        }
        if let Some(arrived) = &arrived {
            let most = INSIDE * body.partials;
            timeout(PATIENCE, arrived.reaches(sent.partials.saturating_sub(most)))
                .await
                .context("nothing comes out")?;
        }
        client.send(body.bytes.clone()).await?;
        sent.partials += body.partials;
        sent.bytes += body.bytes.len() as u64;
    }
    if let Some(arrived) = &arrived {
        timeout(PATIENCE, arrived.reaches(sent.partials))
            .await
            .with_context(|| format!("{} partials went in and {} came out", sent.partials, arrived.partials()))?;
        sent.arrived = arrived.partials();
    }
    sent.seconds = begun.elapsed().as_secs_f64();
    Ok(sent)
}

/// Sends a body until it comes out: the original's proxy loses what it has no connection for yet.
async fn open(client: &Requests, first: &Body, arrived: &Arrived) -> Result<()> {
    for _ in 0..OPENINGS {
        client.send(first.bytes.clone()).await?;
        if timeout(OPENING, arrived.reaches(first.partials)).await.is_ok() {
            return Ok(());
        }
    }
    bail!("nothing comes out of the proxy")
}

/// Requests over one connection.
struct Requests {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    dialect: Dialect,
}

impl Requests {
    async fn send(&self, body: Bytes) -> Result<()> {
        let request = Request::post(self.uri.clone());
        let request = match self.dialect {
            Dialect::A => request.header(CONTENT_TYPE, "application/json").header(CONTENT_ENCODING, "deflate"),
            Dialect::B | Dialect::C => request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers"),
        };
        let request = request.body(Full::new(body)).context("no request")?;
        let response = timeout(PATIENCE, self.client.request(request)).await.context("no answer")?;
        let response = response.context("no answer")?;
        ensure!(response.status().is_success(), "the answer is {}", response.status());
        // Without a message the status is among the headers.
        let at_once = response.headers().get("grpc-status").cloned();
        let answer = response.into_body().collect().await.context("the answer broke off")?;
        let status = at_once.or_else(|| answer.trailers()?.get("grpc-status").cloned());
        let well = self.dialect == Dialect::A || status.as_ref().is_some_and(|status| status == "0");
        ensure!(well, "the answer's gRPC status is {status:?}");
        Ok(())
    }
}
