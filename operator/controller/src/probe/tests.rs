use http::Response;
use k8s_openapi::{ByteString, api::admissionregistration::v1::MutatingWebhook};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::{
    certificates::{
        certificate::{Authority, Purpose},
        leaf::{Shown, Source},
    },
    serve::{serve, text},
};

fn authority(life: Duration) -> Authority {
    Authority::generate("test authority", SystemTime::now(), life).unwrap()
}

/// A folder with a leaf, which is removed in the end.
fn folder(authority: &Authority, life: Duration) -> tempfile::TempDir {
    let purpose = Purpose { names: vec!["localhost".to_owned()], client: false, life };
    // Backdated by an hour, so that one may be over already.
    let leaf = authority.sign(&purpose, SystemTime::now() - Duration::from_mins(30)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tls.crt"), &leaf.certificate.pem).unwrap();
    std::fs::write(folder.path().join("tls.key"), &leaf.key_pem).unwrap();
    folder
}

fn configuration(port: u16, bundle: Option<&str>) -> Seen {
    Seen::Present(Arc::new(MutatingWebhookConfiguration {
        webhooks: Some(vec![MutatingWebhook {
            name: "pod.inject.veneur.dev".to_owned(),
            client_config: WebhookClientConfig {
                url: Some(format!("https://localhost:{port}/inject")),
                ca_bundle: bundle.map(|bundle| ByteString(bundle.as_bytes().to_vec())),
                service: None,
            },
            ..MutatingWebhook::default()
        }]),
        ..MutatingWebhookConfiguration::default()
    }))
}

async fn found(signer: &Authority, life: Duration, bundle: &str, answer: StatusCode) -> Probe {
    let folder = folder(signer, life);
    let shown = Shown::first(Source::Files(folder.path().to_owned())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(serve(listener, Some(shown.acceptor()), stop.clone(), move |_| async move {
        let answer: Response<_> = text(answer, "{}");
        answer
    }));
    let found = probe(&configuration(port, Some(bundle)), "veneur-operator").await;
    stop.cancel();
    tasks.join_all().await;
    found
}

fn reason(probe: &Probe) -> Option<WebhookReason> {
    match probe {
        Probe::Unreachable { reason, .. } => Some(*reason),
        _ => None,
    }
}

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn a_webhook_that_the_bundle_vouches_for_is_reachable_and_its_end_is_known() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let ours = authority(DAY);
    let bundle = format!("{}{}", authority(DAY).certificate().pem, ours.certificate().pem);
    let Probe::Reachable { certificate_expires } = found(&ours, DAY, &bundle, StatusCode::OK).await else {
        panic!("unreachable")
    };
    let left = certificate_expires.duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_hours(23) && left < DAY, "{left:?}");
}

#[tokio::test]
async fn each_way_of_not_being_reached_has_its_reason() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let ours = authority(DAY);
    let bundle = ours.certificate().pem.clone();
    let expired = found(&ours, Duration::from_mins(10), &bundle, StatusCode::OK).await;
    assert_eq!(reason(&expired), Some(WebhookReason::CertificateExpired), "{expired:?}");
    let foreign = found(&ours, DAY, &authority(DAY).certificate().pem, StatusCode::OK).await;
    assert_eq!(reason(&foreign), Some(WebhookReason::CertificateUntrusted), "{foreign:?}");
    let other = found(&ours, DAY, &bundle, StatusCode::NOT_FOUND).await;
    assert_eq!(reason(&other), Some(WebhookReason::NoEndpoints), "{other:?}");

    let missing = probe(&Seen::Missing, "veneur-operator").await;
    assert_eq!(reason(&missing), Some(WebhookReason::ConfigMissing), "{missing:?}");
    let bare = probe(&configuration(1, None), "veneur-operator").await;
    assert_eq!(reason(&bare), Some(WebhookReason::ConfigMissing), "{bare:?}");

    // A port that was free a moment ago, and a listener that takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let refused = probe(&configuration(port, Some(&bundle)), "veneur-operator").await;
    assert_eq!(reason(&refused), Some(WebhookReason::NoEndpoints), "{refused:?}");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let timeout = probe(&configuration(port, Some(&bundle)), "veneur-operator").await;
    assert_eq!(reason(&timeout), Some(WebhookReason::ProbeTimeout), "{timeout:?}");
    assert_eq!(probe(&Seen::Unknown, "veneur-operator").await, Probe::Unknown);
}
