//! A small web server: bounded connections, bounded waits, and an orderly end.

use std::{
    convert::Infallible,
    net::{AddrParseError, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Connections at a time. The API server keeps a handful; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 512;
/// Longest TLS handshake, and longest wait for a request's header.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long requests under way may take after the end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// An address to listen at, where every address is that of both families: a cluster may have only one of them.
pub fn address(text: &str) -> Result<SocketAddr, AddrParseError> {
    veneur_config::every_family(text).parse()
}

/// Serves until `stop`, then finishes the requests under way.
pub async fn serve<S, F>(listener: TcpListener, tls: Option<TlsAcceptor>, stop: CancellationToken, answer: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let shutdown = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, as a rule: the ones in use must end first.
                    tracing::warn!(%error, "Cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (watcher, tls, answer) = (shutdown.watcher(), tls.clone(), answer.clone());
        connections.spawn(async move {
            match tls {
                Some(tls) => match timeout(PATIENCE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, watcher, answer).await,
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                },
                None => connection(stream, watcher, answer).await,
            }
            drop(slot);
        });
    }
    drop(listener);
    if timeout(LAST_REQUESTS, shutdown.shutdown()).await.is_err() {
        tracing::warn!("Some requests were still under way at the end");
    }
}

async fn connection<T, S, F>(stream: T, watcher: hyper_util::server::graceful::Watcher, answer: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "Connection failed");
    }
}

/// A short answer in plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
