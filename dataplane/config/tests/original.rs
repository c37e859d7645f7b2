//! The original's files and variables: every key has a place, and what is said about it is known.

use proptest::prelude::*;
use veneur_config::{
    ConfigError, Every, Parsed, Proxy, Role, Secret, Secrets, Server, Sink, SinkKind, Weight, documented, json, parse,
    read, redacted_json, redacted_yaml, unknown_variables, yaml,
};

/// What the original's newest file can hold, each key with a value that asks for something.
const NEWEST: &str = include_str!("files/newest.yaml");
/// The same of 14.2.0's file, where it differs.
const OF_14: &str = include_str!("files/14.2.0.yaml");
/// The same of 2.0.0's.
const OF_2: &str = include_str!("files/2.0.0.yaml");

fn notes<T>(parsed: &Parsed<T>, weight: Weight) -> Vec<&str> {
    parsed.notes.iter().filter(|note| note.weight == weight).map(|note| note.key.as_str()).collect()
}

fn variables<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
}

#[test]
fn every_key_of_the_newest_file_is_taken() {
    let parsed = parse::<Server>("newest.yaml", NEWEST).expect("the original's file starts");
    assert_eq!(parsed.unknown, []);
    assert_eq!(
        notes(&parsed, Weight::Info),
        [
            "block_profile_rate",
            "metric_sink_routing",
            "mutex_profile_fraction",
            "num_span_workers",
            "num_workers",
            "span_channel_capacity",
            "flush_on_shutdown",
            "veneur_metrics_scopes.set"
        ]
    );
    assert_eq!(
        notes(&parsed, Weight::Warning),
        [
            "indicator_span_timer_name",
            "objective_span_timer_name",
            "span_sinks",
            "ssf_listen_addresses",
            "trace_max_length_bytes",
            "metric_sinks[0].max_name_length",
            "sentry_dsn"
        ]
    );
    let routing = parsed.notes.iter().find(|note| note.key == "metric_sink_routing").expect("is told");
    assert!(routing.text.contains("sink_routes says here"), "{routing}");
    let server = parsed.config;
    assert_eq!(server.statsd_listen_addresses.len(), 4);
    assert_eq!((server.num_readers, server.extend_tags.len()), (1, 0));
    assert!(server.http.config && server.features.diagnostics_metrics_enabled);
}

#[test]
fn what_would_be_lost_in_silence_is_refused() {
    let cases = [
        ("tls: {ca: /ca.pem}", "tls: is read as forward_tls, and has to be a section of ca_file"),
        ("tls: /ca.pem", "tls: is read as forward_tls, and has to be a section of ca_file"),
        ("tls: {cert_file: a, key_file: b}", "forward_tls.cert_file: needs ca_file: without authorities"),
        ("forward_tls: {ca_file: a, key_file: b}", "forward_tls.key_file: needs cert_file"),
        ("sources: [{kind: openmetrics}]", "sources: sources do not exist yet"),
        (
            "features: {enable_metric_sink_routing: true}",
            "features.enable_metric_sink_routing: true needs metric_sink_routing, which is not read: write its rules as sink_routes",
        ),
        ("signalfx_api_key: secret", "signalfx_api_key: asks for a signalfx sink, which does not exist yet"),
        ("forward_address: https://global:8127", "forward_address: \"https://global:8127\" must look like"),
        ("forward_address: 'http://'", "forward_address: \"http://\" must look like http://veneur-proxy:8127"),
        (
            "{forward_address: 'http://global:8127', forward_use_grpc: true}",
            "forward_address: \"http://global:8127\" asks for POST /import, but forward_use_grpc",
        ),
        (
            "{forward_address: 'http://global:8127', forward_points: true}",
            "forward_points: true needs gRPC: POST /import carries no finished points",
        ),
        (
            "features: {proxy_protocol: rest}",
            "features.proxy_protocol: \"rest\" must be one of default, grpc-stream, grpc-single, json",
        ),
        (
            "metric_sinks: [{kind: cortex, name: a}]",
            "metric_sinks[0].kind: \"cortex\" does not exist yet: it must be one of blackhole, datadog, debug",
        ),
        ("metric_sinks: [{kind: datadgo, name: a}]", "metric_sinks[0].kind: \"datadgo\" is not a kind"),
        (
            "veneur_metrics_scopes: {set: both}",
            "veneur_metrics_scopes.set: \"both\" must be one of default, global, local",
        ),
        ("http_address: einhorn@0", "http_address: \"einhorn@0\" must look like"),
        ("tls_key: not-a-key-hunter2", "tls_key: must hold PEM"),
        ("statsd_listen_addresses: ['fd://2']", "statsd_listen_addresses[0]: \"fd://2\" must name an inherited socket"),
    ];
    for (text, expected) in cases {
        let error = parse::<Server>("f", text).expect_err(text).to_string();
        assert!(error.contains(&format!("f: {expected}")), "{text}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn keys_of_14_2_0_are_read_as_todays() {
    let parsed = parse::<Server>("14.2.0.yaml", OF_14).expect("an older file starts");
    assert_eq!(parsed.unknown, []);
    let said: Vec<String> = parsed.notes.iter().map(ToString::to_string).collect();
    assert!(said.contains(&"datadog_api_key: read as metric_sinks[datadog].config.api_key".to_owned()), "{said:?}");
    let SinkKind::Datadog(datadog) = &parsed.config.metric_sinks[0].kind else { panic!("a datadog sink") };
    assert_eq!(datadog.api_key.expose(), "hunter2");
    assert_eq!(datadog.api_hostname, "https://app.datadoghq.eu");
    assert_eq!(datadog.flush_max_per_body, 100, "the sink's own key wins over flush_max_per_body");
    assert_eq!(datadog.metric_name_prefix_drops, ["noise."]);
    assert_eq!(datadog.exclude_tags_prefix_by_prefix_metric[0].tags, ["pod"]);
    assert_eq!(parsed.config.metric_sinks[1].kind, SinkKind::Debug {});
    assert_eq!((parsed.config.extend_tags, parsed.config.tags), (vec!["env:prod".into()], vec!["region:eu".into()]));
}

#[test]
fn a_local_forwards_as_its_file_said_in_14_2_0() {
    let cases = [
        ("forward_address: proxy:8128", "proxy:8128"),
        ("forward_address: http://proxy:8127", "http://proxy:8127"),
        ("forward_address: http://veneur.example.com/path", "http://veneur.example.com/path"),
        ("{forward_address: 'proxy:8128', forward_use_grpc: true}", "grpc+unary://proxy:8128"),
        ("{forward_address: 'proxy:8127', forward_use_grpc: false}", "http://proxy:8127"),
        ("{forward_address: 'http://proxy:8127', forward_use_grpc: false}", "http://proxy:8127"),
        (
            "{forward_address: 'proxy:8128', forward_use_grpc: true, features: {proxy_protocol: grpc-stream}}",
            "proxy:8128",
        ),
        ("{forward_address: 'proxy:8128', features: {proxy_protocol: grpc-single}}", "grpc+unary://proxy:8128"),
        ("{forward_address: 'proxy:8127', features: {proxy_protocol: json}}", "http://proxy:8127"),
        ("{forward_address: 'proxy:8128', features: {proxy_protocol: ''}}", "proxy:8128"),
    ];
    for (text, destination) in cases {
        let parsed = parse::<Server>("f", text).expect(text);
        assert_eq!(parsed.config.forward_destination(), destination, "{text}");
        assert_eq!(parsed.notes, [], "{text}");
    }
    let use_grpc = variables(&[("VENEUR_FORWARDADDRESS", "proxy:8128"), ("VENEUR_FORWARDUSEGRPC", "true")]);
    let parsed = read::<Server>("f", "", &use_grpc).expect("variables say it too");
    assert_eq!(parsed.config.forward_destination(), "grpc+unary://proxy:8128");
}

#[test]
fn keys_of_2_0_0_are_read_as_todays() {
    let parsed = parse::<Server>("2.0.0.yaml", OF_2).expect("an older file starts");
    assert_eq!(parsed.unknown, []);
    assert_eq!(parsed.config.statsd_listen_addresses, ["udp://localhost:8126", "tcp://localhost:8126"]);
    let SinkKind::Datadog(datadog) = &parsed.config.metric_sinks[0].kind else { panic!("a datadog sink") };
    assert_eq!((datadog.api_key.expose(), datadog.api_hostname.as_str()), ("hunter2", "https://app.datadoghq.com"));
}

#[test]
fn variables_alone_make_a_configuration() {
    let environment = [
        ("VENEUR_DATADOGAPIKEY", "hunter2"),
        ("VENEUR_DATADOGAPIHOSTNAME", "https://app.datadoghq.eu"),
        ("VENEUR_STATSDLISTENADDRESSES", "udp://0.0.0.0:8126, tcp://0.0.0.0:8126"),
        ("VENEUR_PERCENTILES", "0.5,0.99"),
        ("VENEUR_HTTPADDRESS", "0.0.0.0:8127"),
        ("VENEUR_HTTP_CONFIG", "true"),
        ("VENEUR_VENEURMETRICSSCOPES_COUNTER", "global"),
        ("VENEUR_INTERVAL", "20s"),
        ("VENEUR_NUMREADERS", "4"),
        ("VENEUR_NUMWORKERS", "96"),
        ("VENEUR_TAGS", "env:prod,region:eu"),
        ("DATADOG_FLUSHMAXPERBODY", "7"),
    ];
    let parsed = read::<Server>("defaults", "", &variables(&environment)).expect("valid");
    let server = parsed.config;
    assert_eq!(server.statsd_listen_addresses, ["udp://0.0.0.0:8126", "tcp://0.0.0.0:8126"]);
    assert_eq!(
        (server.percentiles.as_slice(), server.interval, server.num_readers),
        (&[0.5, 0.99][..], Every::seconds(20), 4)
    );
    assert!(server.http.config);
    assert_eq!(server.tags, ["env:prod", "region:eu"]);
    let SinkKind::Datadog(datadog) = &server.metric_sinks[0].kind else { panic!("a datadog sink") };
    assert_eq!((datadog.api_key.expose(), datadog.flush_max_per_body), ("hunter2", 7));
    assert_eq!(datadog.api_hostname, "https://app.datadoghq.eu");
}

#[test]
fn variables_win_over_the_file_and_a_wrong_one_is_named_with_the_rest() {
    let text = "interval: 20s\nnum_readers: 0\ndatadog_api_key: of the file";
    let environment = [
        ("VENEUR_INTERVAL", "1500ms"),
        ("VENEUR_METRICMAXLENGTH", "long"),
        ("VENEUR_AGGREGATES", "min,mox"),
        ("VENEUR_DEBUG", "perhaps"),
        ("VENEUR_METRICSINKS", "debug"),
        ("DATADOG_FLUSHMAXPERBODY", "0"),
        ("VENEUR_TLSKEY", "hunter2"),
    ];
    let error = read::<Server>("veneur.yaml", text, &variables(&environment)).expect_err("all are wrong");
    let ConfigError::Invalid(problems) = &error else { panic!("{error}") };
    let origins: Vec<(&str, &str)> = problems.iter().map(|one| (one.origin.as_str(), one.key.as_str())).collect();
    for expected in [
        ("VENEUR_INTERVAL", "interval"),
        ("VENEUR_METRICMAXLENGTH", "VENEUR_METRICMAXLENGTH"),
        ("VENEUR_AGGREGATES", "aggregates[1]"),
        ("VENEUR_DEBUG", "VENEUR_DEBUG"),
        ("VENEUR_METRICSINKS", "VENEUR_METRICSINKS"),
        ("DATADOG_FLUSHMAXPERBODY", "metric_sinks[0].config.flush_max_per_body"),
        ("VENEUR_TLSKEY", "tls_key"),
        ("veneur.yaml", "num_readers"),
    ] {
        assert!(origins.contains(&expected), "{expected:?} is not in {origins:?}");
    }
    let text = error.to_string();
    assert!(text.contains("VENEUR_METRICMAXLENGTH: \"long\" must be a whole number"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");

    let environment = [("VENEUR_DATADOGAPIKEY", "of the variable")];
    let parsed =
        read::<Server>("veneur.yaml", "datadog_api_key: of the file", &variables(&environment)).expect("valid");
    let SinkKind::Datadog(datadog) = &parsed.config.metric_sinks[0].kind else { panic!("a datadog sink") };
    assert_eq!(datadog.api_key.expose(), "of the variable");
}

#[test]
fn a_mistyped_variable_is_named_and_a_service_link_is_not() {
    let names = [
        "VENEUR_FORWARDADRESS",
        "VENEUR_CONFIG",
        "VENEUR_GLOBAL_SERVICE_HOST",
        "VENEUR_PORT_8126_UDP_ADDR",
        "VENEUR_PROXY_GRPCADDRESS",
        "VENEUR_KAFKASPANTOPIC",
        "VENEUR_NUMWORKERS",
        "VENEUR_UDPADDRESS",
        "HOME",
    ];
    let unknown: Vec<String> = unknown_variables::<Server>(names).iter().map(ToString::to_string).collect();
    assert_eq!(unknown, ["VENEUR_FORWARDADRESS: is not a key: did you mean VENEUR_FORWARDADDRESS?"]);
}

#[test]
fn no_secret_is_shown_unless_it_is_asked_for() {
    let server = Server {
        tls_key: Secret::from("hunter1"),
        sentry_dsn: Secret::from("hunter2"),
        metric_sinks: vec![Sink {
            name: "dd".into(),
            kind: SinkKind::Datadog(veneur_config::Datadog { api_key: "hunter3".into(), ..Default::default() }),
        }],
        ..Server::default()
    };
    let shown = [redacted_yaml(&server), redacted_json(&server), documented(&server), format!("{server:?}")];
    for text in shown {
        assert!(!text.contains("hunter"), "{text}");
        assert!(text.matches("REDACTED").count() >= 3, "{text}");
    }
    for text in [yaml(&server, Secrets::Shown), json(&server, Secrets::Shown), veneur_config::to_yaml(&server)] {
        assert!(["hunter1", "hunter2", "hunter3"].iter().all(|secret| text.contains(secret)), "{text}");
    }
    // A syntax error shows no line of the file.
    let error = parse::<Server>("f", "tls_key: hunter2\n  bad: [").expect_err("not YAML").to_string();
    assert!(error.starts_with("f: not valid YAML") && !error.contains("hunter2"), "{error}");
}

#[test]
fn json_has_the_originals_names() {
    let server = parse::<Server>("newest.yaml", NEWEST).expect("valid").config;
    let text = redacted_json(&server);
    for line in [
        "  \"Interval\": 10000000000,",
        "  \"HTTPAddress\": \"0.0.0.0:8127\",",
        "  \"GrpcAddress\": \"0.0.0.0:8128\",",
        "  \"HTTP\": {",
        "  \"TLSAuthorityCertificate\": \"\",",
        "  \"StatsdListenAddresses\": [",
        "  \"VeneurMetricsScopes\": {",
        "  \"SentryDsn\": \"REDACTED\",",
        "        \"APIHostname\": ",
        "  \"HTTPQuit\": false,",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn the_documented_default_parses_back_and_documents_every_key() {
    for server in [Server::default(), Server::default().as_local(), Server::default().as_global()] {
        let text = documented(&server);
        let parsed = parse::<Server>("default", &text).expect(&text);
        assert_eq!((parsed.config, parsed.unknown.len(), parsed.notes.len()), (server.clone(), 0, 0));
        let keys = veneur_config::redacted_yaml(&server).lines().filter(|line| !line.starts_with([' ', '-'])).count();
        assert!(text.lines().filter(|line| line.starts_with("# ")).count() >= keys);
    }
    let environment = [("VENEUR_PROXY_GRPCADDRESS", "[::]:1"), ("VENEUR_PROXY_FORWARDADDRESSES", "a:1")];
    let parsed = read::<Proxy>("default", &documented(&Proxy::default()), &variables(&environment)).expect("valid");
    let expected = Proxy { grpc_address: "[::]:1".into(), forward_addresses: vec!["a:1".into()], ..Proxy::default() };
    assert_eq!((parsed.config, parsed.unknown.len()), (expected, 0));
}

#[test]
fn a_reload_tells_what_is_live_from_what_takes_a_restart() {
    let old = Server::default();
    let mut new = old.clone();
    assert!(old.changes_live(&new).is_empty());
    new.percentiles = vec![0.5];
    new.max_contexts = 5;
    new.http.config = true;
    new.num_readers = 2;
    new.metric_sinks = vec![Sink { name: "a".into(), kind: SinkKind::Blackhole {} }];
    let reload = old.changes_live(&new);
    assert_eq!(reload.live, ["percentiles", "max_contexts"]);
    assert_eq!(reload.restart, ["num_readers", "http.config", "metric_sinks"]);

    // What runs on has the live ones of the new, and the rest of the old.
    let followed = veneur_config::followed(&old, &new);
    assert_eq!(old.changes_live(&followed).live, ["percentiles", "max_contexts"]);
    assert_eq!(followed.changes_live(&new).restart, ["num_readers", "http.config", "metric_sinks"]);
    assert!(old.changes_live(&followed).restart.is_empty() && followed.changes_live(&new).live.is_empty());
}

#[test]
fn every_key_without_a_place_here_is_in_the_docs() {
    let docs = include_str!("../../../docs/differences.md");
    let (server, proxy) = docs
        .split_once("## Keys of the original without effect")
        .expect("a section")
        .1
        .split_once("Of a proxy:")
        .expect("two tables");
    let keys = |table: &[(&'static str, _)]| table.iter().map(|(key, _)| *key).collect::<Vec<_>>();
    for (table, keys) in [(server, keys(Server::ELSEWHERE)), (proxy, keys(Proxy::ELSEWHERE))] {
        let lacking: Vec<_> = keys.into_iter().filter(|key| !table.contains(&format!("`{key}`"))).collect();
        assert!(lacking.is_empty(), "{lacking:?}");
    }
}

#[test]
fn what_is_valid_and_without_effect_is_told() {
    let keys = |text: &str| {
        let parsed = parse::<Server>("f", text).expect(text);
        parsed.notes.into_iter().map(|note| note.key).collect::<Vec<_>>()
    };
    assert_eq!(keys("http_quit: true\nenable_profiling: true\nhttp_address: '[::]:1'"), Vec::<String>::new());
    assert_eq!(
        keys("http_quit: true\nenable_profiling: true\nhttp: {config: true}"),
        ["http.config", "http_quit", "enable_profiling"]
    );
    assert_eq!(keys("stats_address: 'a:1'\ncount_unique_timeseries: true"), Vec::<String>::new());
    assert_eq!(keys("self_metrics: false\nstats_address: 'a:1'"), ["stats_address"]);
    // A variable that asks for it is named.
    let parsed = read::<Server>("none", "", &variables(&[("VENEUR_SENTRYDSN", "hunter2")])).expect("valid");
    assert_eq!(parsed.notes[0].key, "VENEUR_SENTRYDSN");
    assert!(!parsed.notes[0].text.contains("hunter2"));
}

#[test]
fn every_variable_sets_one_key_only() {
    let names = veneur_config::variable_names::<Server>();
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((sorted.len(), names.len() > 60), (names.len(), true));
    // Each, given something that fits nothing, is heard of; none falls into silence.
    for name in &names {
        let environment = |asked: &str| (asked == name).then(|| "\u{1}".to_owned());
        match read::<Server>("none", "", &environment) {
            Err(error) => assert!(error.to_string().contains(name.as_str()), "{name}: {error}"),
            Ok(parsed) => {
                let default = parse::<Server>("none", "").expect("valid").config;
                let heard = parsed.config != default || !parsed.notes.is_empty();
                assert!(heard, "{name} says nothing");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_and_no_variables_panic(text in "(?s).{0,200}", values in prop::collection::vec("[a-z0-9:/.,@ -]{0,12}", 7)) {
        let names = veneur_config::variable_names::<Server>();
        let environment = |name: &str| {
            let index = names.iter().position(|known| known == name)?;
            (index % 3 == 0).then(|| values[index % values.len()].clone())
        };
        drop(read::<Server>("text", &text, &environment).map_err(|error| error.to_string()));
        drop(parse::<Proxy>("text", &text).map_err(|error| error.to_string()));
    }

    #[test]
    fn keys_with_any_values_do_not_panic_and_what_is_valid_parses_back(
        entries in prop::collection::vec((0_usize..80, "[ -~]{0,20}"), 0..6)
    ) {
        let default = redacted_yaml(&Server::default());
        let keys: Vec<&str> = default.lines().filter_map(|line| line.split(':').next()).filter(|key| !key.starts_with([' ', '-'])).collect();
        let lines: Vec<String> = entries.iter().map(|(key, value)| format!("{}: {value}", keys[key % keys.len()])).collect();
        let text = lines.join("\n");
        if let Ok(parsed) = parse::<Server>("text", &text) {
            let printed = yaml(&parsed.config, Secrets::Shown);
            prop_assert_eq!(parse::<Server>("printed", &printed).expect("what is valid stays valid").config, parsed.config);
        }
    }
}
