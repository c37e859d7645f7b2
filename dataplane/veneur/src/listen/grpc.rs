//! DogStatsD over gRPC: `dogstatsd.DogstatsdGRPC/SendPacket`, and the health service beside it.
//!
//! A packet is taken in as a datagram is. The answer is OK in any case: what is wrong with a packet is on the ledger.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{either::Either, sync::CancellationToken};
use tonic::{Request, Response, Status, transport::server};
use tonic_health::ServingStatus;

use super::{
    connections::{Connected, Connections},
    intake::Intake,
    origin::Origin,
    stream::{self, LAST_READ, LONGEST},
    tls::Handshakes,
};
use crate::dogstatsd::{
    DogstatsdPacket, Empty,
    dogstatsd_grpc_server::{DogstatsdGrpc, DogstatsdGrpcServer},
};

/// The name by which health is asked for, besides the empty one.
const HEALTH: &str = "veneur";

/// Calls at once on a connection.
const CALLS: u32 = 100;

/// Connections between their handshake and the server.
const READY: usize = 16;

/// What a listener for gRPC is made of.
pub(super) struct Grpc {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) max_length: usize,
    pub(super) handshake: Duration,
    pub(super) intake: Arc<Intake>,
    pub(super) connections: Arc<Connections>,
    pub(super) limit: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

impl Grpc {
    /// Serves until `stop`; calls under way are answered then.
    pub(super) async fn serve(self) -> Result<(), tonic::transport::Error> {
        let Self { listener, tls, max_length, handshake, intake, connections, limit, stop } = self;
        let (ready, incoming) = mpsc::channel(READY);
        let handshakes = Arc::new(Handshakes::default());
        let accept = stream::accept(listener, connections, limit, stop.clone(), |stream, connected| {
            let (tls, handshakes, ready) = (tls.clone(), Arc::clone(&handshakes), ready.clone());
            async move {
                let Some(stream) = agree(stream, tls, &handshakes, handshake, &connected).await else { return };
                // A server that stops takes no more; the client sees a closed connection.
                drop(ready.send(Ok::<_, io::Error>(Connection { stream, _connected: connected })).await);
            }
        });
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status(HEALTH, ServingStatus::Serving).await;
        let stopping = async {
            stop.cancelled().await;
            for service in ["", HEALTH] {
                reporter.set_service_status(service, ServingStatus::NotServing).await;
            }
        };
        // Longer ones than a stream's are not even read.
        let packets = DogstatsdGrpcServer::new(Service { intake, max_length });
        let packets = packets.max_decoding_message_size(2 * LONGEST.max(max_length));
        let served = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .max_concurrent_streams(CALLS)
            .add_service(health)
            .add_service(packets)
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stopping);
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_READ).await;
        };
        let accepted = async {
            accept.await;
            Ok(())
        };
        let both = async { tokio::try_join!(served, accepted) };
        tokio::select! {
            both = both => both.map(|_| ()),
            () = too_late => Ok(()),
        }
    }
}

/// TLS where it is wanted; `None` if the client could not agree on it in time.
async fn agree(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    handshakes: &Handshakes,
    within: Duration,
    connected: &Connected,
) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Either::Left(stream)) };
    if let Ok(Ok(stream)) = timeout(within, handshakes.shake(&tls, stream)).await {
        return Some(Either::Right(stream));
    }
    connected.handshake_failed();
    None
}

type Stream = Either<TcpStream, TlsStream<TcpStream>>;

struct Service {
    intake: Arc<Intake>,
    max_length: usize,
}

#[tonic::async_trait]
impl DogstatsdGrpc for Service {
    async fn send_packet(&self, request: Request<DogstatsdPacket>) -> Result<Response<Empty>, Status> {
        let packet = request.into_inner().packet_bytes;
        let mut open = self.intake.open();
        if packet.len() > self.max_length {
            open.refuse_packet("too_long");
        } else {
            open.packet(&packet, Origin::UNKNOWN);
        }
        Ok(Response::new(Empty {}))
    }
}

/// A connection that is counted as long as it is open.
struct Connection {
    stream: Stream,
    _connected: Connected,
}

impl server::Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
