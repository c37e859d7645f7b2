//! What the admin port shows and does when it may.

use super::*;

#[tokio::test]
async fn the_configuration_is_shown_without_secrets_and_only_where_that_is_allowed() {
    let backend = backend().await;
    let mut config = Server { metric_sinks: vec![backend.sink.clone()], percentiles: vec![0.5], ..instance() };
    let closed = server::start(&config).await.expect("starts");
    assert_eq!(get(closed.http, "/config/json").await.0, 404);
    config.http.config = true;
    let mut running = server::start(&config).await.expect("starts");
    let (status, json) = get(running.http, "/config/json").await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((status, &json["Interval"], &json["Percentiles"]), (200, &1_000_000_000.into(), &[0.5][..].into()));
    let (status, yaml) = get(running.http, "/config/yaml").await;
    assert!(status == 200 && yaml.contains("interval: 1s") && yaml.contains("REDACTED"), "{yaml}");
    assert!(!yaml.contains("hunter2") && !json.to_string().contains("hunter2"));

    // What is followed is shown, and what takes a restart is not.
    running.follow(&Server { percentiles: vec![0.9], num_readers: 7, ..config.clone() });
    let (_, json) = get(running.http, "/config/json").await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["Percentiles"], &json["NumReaders"]), (&[0.9][..].into(), &1.into()));
}

#[tokio::test]
async fn a_proxy_shows_its_configuration_and_threads_where_that_is_allowed() {
    let mut config = veneur_config::Proxy {
        grpc_address: "127.0.0.1:0".into(),
        http_address: "127.0.0.1:0".into(),
        forward_addresses: vec!["127.0.0.1:9".into()],
        ..veneur_config::Proxy::default()
    };
    let closed = veneur::proxy::start(&config).await.expect("starts");
    assert_eq!(get(closed.http, "/config/yaml").await.0, 404);
    assert_eq!(get(closed.http, "/debug/pprof/").await.0, 404);
    (config.http.enable_config, config.http.enable_profiling) = (true, true);
    let running = veneur::proxy::start(&config).await.expect("starts");
    let (status, yaml) = get(running.http, "/config/yaml").await;
    assert!(status == 200 && yaml.contains("127.0.0.1:9"), "{yaml}");
    assert_eq!(get(running.http, "/debug/pprof/").await.0, 200);
}

#[tokio::test]
async fn a_request_to_quit_is_heeded_only_where_that_is_allowed_and_only_as_a_post() {
    let closed = server::start(&instance()).await.expect("starts");
    let stream = TcpStream::connect(closed.http.expect("bound")).await.expect("connects");
    assert_eq!(ask(stream, "POST", "/quitquitquit").await.0, 404);
    let running = server::start(&Server { http_quit: true, ..instance() }).await.expect("starts");
    let told = running.told_to_quit();
    assert_eq!(get(running.http, "/quitquitquit").await.0, 405);
    let stream = TcpStream::connect(running.http.expect("bound")).await.expect("connects");
    let (status, body) = ask(stream, "POST", "/quitquitquit").await;
    assert_eq!((status, body.as_slice()), (200, &b"Beginning graceful shutdown....\n"[..]));
    tokio::time::timeout(PATIENCE, told).await.expect("it is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_shows_which_threads_worked() {
    let running = server::start(&Server { enable_profiling: true, ..instance() }).await.expect("starts");
    assert_eq!(get(running.http, "/debug/pprof/heap").await.0, 404);
    assert_eq!(get(running.http, "/debug/pprof/profile?seconds=soon").await.0, 400);
    let to = running.dogstatsd[0];
    let profile = async {
        let stream = TcpStream::connect(running.http.expect("bound")).await.expect("connects");
        ask(stream, "GET", "/debug/pprof/profile?seconds=1").await
    };
    let traffic = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        for _ in 0..20_000 {
            drop(socket.send_to(&b"a:1|c\n".repeat(50), to));
        }
    });
    let ((status, profile), traffic) = tokio::join!(profile, traffic);
    traffic.expect("no panic");
    assert_eq!(status, 200);
    // Its table of texts has the readers' name in it.
    let reader = b"read-udp-";
    assert!(profile.windows(reader.len()).any(|bytes| bytes == reader), "{}", String::from_utf8_lossy(&profile));
}

#[tokio::test]
async fn a_unix_socket_serves_the_admin_port_to_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let http_address = path.to_str().expect("UTF-8").to_owned();
    let running = server::start(&Server { http_address, ..instance() }).await.expect("starts");
    assert_eq!(running.http, None, "no host and port");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let stream = tokio::net::UnixStream::connect(&path).await.expect("connects");
    let (status, body) = ask(stream, "GET", "/healthcheck").await;
    assert_eq!((status, body.as_slice()), (200, &b"ok\n"[..]));
    running.stop().await;
    assert!(!path.exists(), "the file is gone");
}
