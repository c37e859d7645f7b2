//! TLS between tiers: who is admitted, who is not, and certificates that are renewed.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;
use veneur_forward::{
    Batch, Facts,
    client::{Client, Outcome},
    connect::{Failure, Manner, Target},
    import::{Importer, Settings, Stopping, serve},
    tls::{BadTls, Guard, Identity, Pem, Trust},
};
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_wire::{encode_partial, metricpb::Metric};

#[derive(Default)]
struct Seen(Mutex<usize>);

impl Importer for Seen {
    fn import(&self, _: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping> {
        *self.0.lock().expect("not poisoned") += metrics.len();
        Ok(())
    }
}

/// An authority, and what it signed.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("made");
        let pem = params.self_signed(&key).expect("made").pem();
        Self { pem, issuer: Issuer::new(params, key), folder: tempfile::tempdir().expect("a folder") }
    }

    fn trust(&self) -> Pem {
        Pem::Text(self.pem.clone())
    }

    /// Writes a certificate for a name, in place of the one before.
    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("made");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("valid");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        let identity = Identity { certificate: self.path(name, "crt"), key: self.path(name, "key") };
        fs::write(&identity.certificate, signed.pem()).expect("written");
        fs::write(&identity.key, key.serialize_pem()).expect("written");
        identity
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{ending}"))
    }
}

struct Server {
    address: String,
    seen: Arc<Seen>,
    _serving: JoinSet<()>,
}

async fn server(guard: Guard) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let (seen, mut serving) = (Arc::new(Seen::default()), JoinSet::new());
    let importer = Arc::clone(&seen);
    let settings = Settings { tls: Some(Arc::new(guard)), ..Settings::default() };
    serving.spawn(async move { serve(listener, settings, importer, std::future::pending()).await.expect("serves") });
    Server { address, seen, _serving: serving }
}

fn client(server: &Server, trust: Option<Trust>) -> Client {
    Client::new(Target {
        address: server.address.clone(),
        manner: Arc::new(Manner { tls: trust, ..Manner::default() }),
    })
}

async fn send(client: &mut Client) -> Result<(), Failure> {
    let context = Context { name: "a".into(), tags: Tags::none(), kind: Kind::Counter, scope: Scope::Global };
    let metric = encode_partial(Partial { context, value: PartialValue::Counter(1.0), stamp: None });
    match client.send(Batch::split([metric], Facts::default).remove(0)).await.outcome {
        Outcome::Acknowledged(metrics) => {
            assert_eq!(metrics, 1);
            Ok(())
        }
        Outcome::NotSent(_, failure) => Err(failure),
        Outcome::Rejected(_, problem) | Outcome::Uncertain(_, problem) => Err(Failure { problem, silent: true }),
    }
}

#[tokio::test]
async fn both_sides_check_each_other() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let guard = Guard::new(ours.sign("global"), Some(ours.trust())).expect("usable");
    let server = server(guard).await;
    let name = || Some("global".to_owned());

    let trust = Trust::new(ours.trust(), Some(ours.sign("proxy")), name()).expect("usable");
    send(&mut client(&server, Some(trust))).await.expect("both are known to each other");
    for (who, trust, expected) in [
        ("no certificate", Some(Trust::new(ours.trust(), None, name()).expect("usable")), "CertificateRequired"),
        (
            "a certificate of another authority",
            Some(Trust::new(ours.trust(), Some(theirs.sign("proxy")), name()).expect("usable")),
            "UnknownCA",
        ),
        (
            "trust in another authority",
            Some(Trust::new(theirs.trust(), Some(ours.sign("proxy")), name()).expect("usable")),
            "UnknownIssuer",
        ),
        (
            "another name",
            Some(Trust::new(ours.trust(), Some(ours.sign("proxy")), Some("other".into())).expect("usable")),
            "not valid for name \"other\"",
        ),
        ("plain text", None, ""),
    ] {
        let failure = send(&mut client(&server, trust)).await.expect_err(who);
        assert!(!failure.silent && failure.problem.contains(expected), "{who}: {}", failure.problem);
    }
    assert_eq!(*server.seen.0.lock().expect("not poisoned"), 1);
}

#[tokio::test]
async fn a_server_may_ask_nothing_of_its_clients() {
    let ours = Authority::new("ours");
    let server = server(Guard::new(ours.sign("localhost"), None).expect("usable")).await;
    let trust = Trust::new(ours.trust(), None, Some("localhost".into())).expect("usable");
    send(&mut client(&server, Some(trust))).await.expect("the server is known");
}

#[tokio::test]
async fn both_versions_are_spoken_and_no_older_one_exists() {
    let ours = Authority::new("ours");
    let server = server(Guard::new(ours.sign("localhost"), None).expect("usable")).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ours.pem.as_bytes()).expect("PEM")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("known")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(&server.address).await.expect("loopback");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("agreed");
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
}

#[tokio::test]
async fn renewed_certificates_are_used_by_new_connections_and_open_ones_stay() {
    let ours = Authority::new("ours");
    let authority = ours.path("authority", "crt");
    fs::write(&authority, &ours.pem).expect("written");
    let guard = Guard::new(ours.sign("global"), Some(Pem::File(authority.clone()))).expect("usable");
    let server = server(guard).await;
    let trust = || Trust::new(Pem::File(authority.clone()), Some(ours.sign("proxy")), Some("global".into()));
    let mut open = client(&server, Some(trust().expect("usable")));
    send(&mut open).await.expect("known");

    // Half a renewal: a key that does not fit its certificate yet.
    let key = ours.path("global", "key");
    let good = fs::read(&key).expect("there");
    fs::write(&key, KeyPair::generate().expect("made").serialize_pem()).expect("written");
    send(&mut client(&server, Some(trust().expect("usable")))).await.expect("the certificate before stays in force");
    fs::write(&key, good).expect("written");

    let new = Authority::new("new");
    let renewed = new.sign("global");
    fs::copy(&renewed.certificate, ours.path("global", "crt")).expect("copied");
    fs::copy(&renewed.key, &key).expect("copied");
    fs::write(&authority, format!("{}{}", ours.pem, new.pem)).expect("written");
    send(&mut open).await.expect("its stream is not dropped");
    let only_old = Trust::new(ours.trust(), Some(ours.sign("proxy")), Some("global".into())).expect("usable");
    let failure = send(&mut client(&server, Some(only_old))).await.expect_err("the new certificate is shown");
    assert!(failure.problem.contains("UnknownIssuer"), "{}", failure.problem);
    send(&mut client(&server, Some(trust().expect("usable")))).await.expect("both authorities are trusted");
    assert_eq!(*server.seen.0.lock().expect("not poisoned"), 4);
}

#[test]
fn what_cannot_be_used_is_named() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (one, other) = (ours.sign("one"), theirs.sign("other"));
    let mixed = Identity { certificate: one.certificate.clone(), key: other.key };
    let missing = Identity { certificate: ours.path("missing", "crt"), key: one.key.clone() };
    let swapped = Identity { certificate: one.key.clone(), key: one.key.clone() };
    let problem = |made: Result<Guard, BadTls>| made.expect_err("unusable").to_string();
    assert!(problem(Guard::new(mixed, None)).contains("cannot be used together"));
    assert!(problem(Guard::new(missing, None)).contains("missing.crt"));
    assert!(problem(Guard::new(swapped, None)).contains("holds no certificate in PEM"));
    assert!(problem(Guard::new(one, Some(Pem::Text("x".into())))).contains("authority's certificate holds no"));
}
