//! TLS: the original's matrix of servers and clients, over TCP and gRPC.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tonic::transport::Uri;
use veneur::listen::tls::Pem;

use super::*;

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A key and its certificate.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into()]).expect("a name");
        (key.serialize_pem(), params.signed_by(&key, &self.0).expect("signed").pem())
    }
}

/// After this, a client gives up waiting for the server's part of a handshake.
const ANSWER: Duration = Duration::from_secs(2);

/// What a client does about TLS.
enum Client {
    Plain,
    Tls(Arc<ClientConfig>),
}

fn client(
    server: &Authority,
    identity: Option<&(String, String)>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.pem().as_bytes()).expect("PEM")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("known versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some((key, certificate)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            config.with_client_auth_cert(chain, key).expect("fit together")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Client::Tls(Arc::new(config))
}

/// Sends one line; whether the client could tell that it went wrong is not asked.
async fn send(to: SocketAddr, client: &Client) {
    let mut stream = TcpStream::connect(to).await.expect("connects");
    match client {
        Client::Plain => drop(stream.write_all(b"a:1|c\n").await),
        Client::Tls(config) => {
            let name = ServerName::try_from("localhost").expect("a name");
            // A server that does not know TLS waits for the end of a line as the client waits for an answer.
            let shaken = TlsConnector::from(Arc::clone(config)).connect(name, stream);
            if let Ok(Ok(mut stream)) = tokio::time::timeout(ANSWER, shaken).await {
                drop(stream.write_all(b"a:1|c\n").await);
                drop(stream.shutdown().await);
            }
        }
    }
}

/// Sends one packet; whether it was answered.
async fn call(to: SocketAddr, client: &Client) -> bool {
    let config = match client {
        Client::Plain => None,
        Client::Tls(config) => Some(Arc::clone(config)),
    };
    let dial = tower::service_fn(move |_: Uri| {
        let config = config.clone();
        async move {
            let stream = TcpStream::connect(to).await?;
            let Some(config) = config else { return Ok(hyper_util::rt::TokioIo::new(Either::Left(stream))) };
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = TlsConnector::from(config).connect(name, stream).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(Either::Right(stream)))
        }
    });
    let Ok(channel) = channel(to).connect_with_connector(dial).await else { return false };
    let packet = DogstatsdPacket { packet_bytes: b"a:1|c".to_vec() };
    DogstatsdGrpcClient::new(channel).send_packet(packet).await.is_ok()
}

#[tokio::test]
async fn who_is_heard_is_decided_by_keys_and_certificates() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (key, certificate) = ours.sign();
    let servers = [
        ("plain", Pem::default(), [true, false, false, false]),
        (
            "encrypted",
            Pem { key: key.clone(), certificate: certificate.clone(), ..Pem::default() },
            [false, true, true, true],
        ),
        ("authenticated", Pem { key, certificate, authority_certificate: ours.pem() }, [false, false, false, true]),
    ];
    let (right, wrong) = (ours.sign(), other.sign());
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let clients = [
            ("plain", Client::Plain),
            ("no certificate", client(&ours, None, versions)),
            ("wrong certificate", client(&ours, Some(&wrong), versions)),
            ("right certificate", client(&ours, Some(&right), versions)),
        ];
        for (server, pem, expected) in &servers {
            for ((client, how), heard) in clients.iter().zip(expected) {
                let case = format!("{server} server, {client} client, {:?}", versions[0].version);
                let grpc = vec!["tcp://127.0.0.1:0".into()];
                let settings = Settings { tls: pem.clone(), grpc_addresses: grpc, ..listening("tcp://127.0.0.1:0") };
                let running = start(&settings).await;
                let encrypted = *server != "plain";

                send(running.dogstatsd[0], how).await;
                until(&case, || connections(&running).disconnects == 1).await;
                assert_eq!(ledger(&running).samples.aggregated, u64::from(*heard), "{case}");
                let failed = connections(&running).tls_handshake_failures;
                assert_eq!(failed, u64::from(encrypted && !heard), "{case}");

                assert_eq!(call(running.dogstatsd[1], how).await, *heard, "{case}, over gRPC");
                let grpc = &running.listeners()[1];
                assert_eq!(grpc.account.lock().samples.aggregated, u64::from(*heard), "{case}, over gRPC");
                running.stop().await;
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_closed() {
    let (key, certificate) = Authority::new().sign();
    let settings = Settings {
        tls: Pem { key, certificate, ..Pem::default() },
        idle_timeout: Duration::from_millis(100),
        ..listening("tcp://127.0.0.1:0")
    };
    let running = start(&settings).await;
    let mut silent = connect(&running).await;
    closed(&mut silent).await;
    until("it is counted", || connections(&running).tls_handshake_failures == 1).await;
}

#[tokio::test]
async fn keys_that_cannot_be_used_end_the_start() {
    let settings = Settings { tls: Pem { key: "nothing".into(), ..Pem::default() }, ..listening("tcp://127.0.0.1:0") };
    let error = server::start_listening(&Server::default(), &settings).await.expect_err("is refused");
    let line = format!("{error:#}");
    assert!(line.contains("tls_key is set without tls_certificate"), "{line}");
}
