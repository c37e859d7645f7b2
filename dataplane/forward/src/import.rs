//! The import server: reads what other instances forward, in dialects B and C.

use std::{future::Future, net::SocketAddr, sync::Arc};

use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};
use veneur_wire::{forwardrpc::MetricList, metricpb::Metric};

use crate::{
    batch::{EXTENSIONS, Facts},
    forwardrpc::forward_server::{Forward, ForwardServer},
};

/// Metrics taken from a stream at once: what has arrived is merged, not what will.
const CHUNK: usize = 256;

/// Largest message accepted. A digest has some ten kilobytes; dialect B's lists are what needs room.
const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// Takes what is imported.
pub trait Importer: Send + Sync + 'static {
    /// Takes some metrics of a batch. When this is `Ok` they are on the ledger: merged, held, or refused with a reason;
    /// a bad metric does not fail its batch. When it is `Err` none of them is.
    fn import(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping>;
}

/// This process has taken in the last metric it can still deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopping: send it to another instance")]
pub struct Stopping;

impl From<Stopping> for Status {
    fn from(stopping: Stopping) -> Self {
        Self::unavailable(stopping.to_string())
    }
}

/// Serves imports on `listener` until `stop` completes; calls under way are answered first.
pub async fn serve(
    listener: TcpListener,
    importer: Arc<dyn Importer>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = ForwardServer::new(Service { importer }).max_decoding_message_size(LARGEST_MESSAGE);
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(30)))
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop)
        .await
}

struct Service {
    importer: Arc<dyn Importer>,
}

#[tonic::async_trait]
impl Forward for Service {
    async fn send_metrics(&self, request: Request<MetricList>) -> Result<Response<()>, Status> {
        let facts = Facts::read(request.metadata());
        self.importer.import(&facts, request.into_inner().metrics)?;
        Ok(answer())
    }

    async fn send_metrics_v2(&self, request: Request<Streaming<Metric>>) -> Result<Response<()>, Status> {
        let facts = Facts::read(request.metadata());
        let peer = request.remote_addr();
        let mut chunks = request.into_inner().ready_chunks(CHUNK);
        while let Some(chunk) = chunks.next().await {
            let mut broken = None;
            let metrics: Vec<Metric> =
                chunk.into_iter().map_while(|metric| metric.map_err(|status| broken = Some(status)).ok()).collect();
            self.importer.import(&facts, metrics)?;
            if let Some(status) = broken {
                log_broken(peer, &status);
                return Err(status);
            }
        }
        Ok(answer())
    }
}

fn log_broken(peer: Option<SocketAddr>, status: &Status) {
    tracing::debug!(peer = ?peer, status = %status, "Import stream broke off: what was read of it is merged");
}

fn answer() -> Response<()> {
    let mut metadata = MetadataMap::new();
    metadata.insert(EXTENSIONS, "1".parse().expect("a digit is a header value"));
    let mut response = Response::new(());
    *response.metadata_mut() = metadata;
    response
}
