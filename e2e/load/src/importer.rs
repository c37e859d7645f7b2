//! The null importer: a global that answers at once, and of what it is sent only counts the partials.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

use crate::bodies;

/// What arrived.
#[derive(Debug, Default)]
pub struct Arrived {
    partials: AtomicU64,
    changed: Notify,
}

impl Arrived {
    /// Partials so far.
    pub fn partials(&self) -> u64 {
        self.partials.load(Ordering::Relaxed)
    }

    /// Waits until at least so many have arrived.
    pub async fn reaches(&self, partials: u64) {
        loop {
            let changed = self.changed.notified();
            if self.partials() >= partials {
                return;
            }
            changed.await;
        }
    }

    /// Serves connections for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let arrived = Arc::clone(&self);
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let arrived = Arc::clone(&arrived);
                    async move { Ok::<_, Infallible>(arrived.answer(request).await) }
                });
                let mut server = auto::Builder::new(TokioExecutor::new());
                // No sender is to wait for room.
                server.http2().initial_stream_window_size(1 << 30).initial_connection_window_size(1 << 30);
                // A client that goes away ends its connection; there is nobody to tell.
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            });
            while connections.try_join_next().is_some() {}
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        let path = request.uri().path().to_owned();
        let Ok(body) = request.into_body().collect().await else { return status(StatusCode::BAD_REQUEST) };
        let Some(partials) = bodies::count(&path, &body.to_bytes()) else { return status(StatusCode::NOT_FOUND) };
        self.partials.fetch_add(partials, Ordering::Relaxed);
        self.changed.notify_waiters();
        if path == "/import" { status(StatusCode::ACCEPTED) } else { empty_message() }
    }
}

fn status(status: StatusCode) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = status;
    response
}

/// What gRPC answers where there is nothing to say; as one of ours, that reads all that ours send.
fn empty_message() -> Response<BoxBody<Bytes, Infallible>> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("veneur-ext", HeaderValue::from_static("1"));
    response
}
