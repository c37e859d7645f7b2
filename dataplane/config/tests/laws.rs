//! Laws of configuration.

use veneur_config::{ConfigError, Datadog, Proxy, Server, Sink, SinkKind, parse, read, read_strictly, to_yaml};

#[test]
fn the_default_validates_and_parses_back_to_itself() {
    let printed = to_yaml(&Server::default());
    let parsed = parse::<Server>("default", &printed).expect("the default is valid");
    assert_eq!(parsed.config, Server::default());
    assert!(parsed.unknown.is_empty(), "{:?}", parsed.unknown);
}

#[test]
fn a_full_configuration_parses_back_to_itself() {
    let server = Server {
        percentiles: vec![0.5, 0.999],
        metric_sinks: vec![
            Sink { name: "debug".into(), kind: SinkKind::Debug {} },
            Sink { name: "dd".into(), kind: SinkKind::Datadog(Datadog::default()) },
        ],
        ..Server::default()
    };
    let printed = to_yaml(&server);
    assert_eq!(parse::<Server>("full", &printed).expect(&printed).config, server);
    let proxy = Proxy { grpc_address: "[::]:8128".into(), forward_addresses: vec!["a:1".into()], ..Proxy::default() };
    assert_eq!(parse::<Proxy>("full", &to_yaml(&proxy)).expect("valid").config, proxy);
}

#[test]
fn every_error_is_reported_at_once_with_its_key() {
    let text = "interval: 1500ms\nmetric_max_length: long\npercentiles: [0.5, 1.5]\nnum_readers: 0\nstatsd_listen_addresses: ['tcp:8126']\n\
                metric_sinks: [{kind: debug, name: a, config: {}}, {kind: debug, name: a, config: {}}]";
    let error = parse::<Server>("veneur.yaml", text).expect_err("six keys are wrong");
    let ConfigError::Invalid(problems) = &error else { panic!("{error}") };
    let keys: Vec<&str> = problems.iter().map(|invalid| invalid.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "metric_max_length",
            "interval",
            "percentiles[1]",
            "num_readers",
            "statsd_listen_addresses[0]",
            "metric_sinks[1].name"
        ]
    );
    assert!(
        error.to_string().starts_with("veneur.yaml: metric_max_length: \"long\" must be a whole number"),
        "{error}"
    );
}

#[test]
fn what_is_published_is_given_once_and_has_a_name() {
    for (text, expected) in [
        ("percentiles: [0.5, 0.99, 0.50]", "percentiles[2]: 0.5 appears twice"),
        ("percentiles: [0.999999]", "percentiles[0]: 0.999999 must have at most five digits"),
        ("percentiles: [0]", "percentiles[0]: 0 must lie between 0 and 1"),
        ("percentiles: [1]", "percentiles[0]: 1 must lie between 0 and 1"),
        ("aggregates: [min, max, min]", "aggregates[2]: \"min\" appears twice"),
    ] {
        let error = parse::<Server>("veneur.yaml", text).expect_err(text).to_string();
        assert!(error.starts_with(&format!("veneur.yaml: {expected}")), "{error}");
    }
    parse::<Server>("veneur.yaml", "{percentiles: [0.99999], aggregates: [min, max, median, avg, count, sum, hmean]}")
        .expect("each is given once");
}

#[test]
fn a_value_of_the_wrong_shape_names_file_key_and_value() {
    let error = parse::<Server>("veneur.yaml", "interval: abc").expect_err("not a duration");
    assert_eq!(error.to_string(), "veneur.yaml: interval: \"abc\" is not a duration: write 10s, 1m30s or 500ms");
}

#[test]
fn unknown_keys_are_named_and_do_no_harm() {
    let text = "interval: 20s\nagregates: [min]\nhttp: {confg: true}";
    let unknown = parse::<Server>("veneur.yaml", text).expect("valid").unknown;
    let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    assert_eq!(
        unknown,
        ["http.confg: is not a key: did you mean http.config?", "agregates: is not a key: did you mean aggregates?"]
    );
}

#[test]
fn secrets_do_not_reach_debug_output() {
    let sink = Datadog { api_key: "hunter2".into(), ..Datadog::default() };
    assert!(!format!("{sink:?}").contains("hunter2"));
}

#[test]
fn strictly_read_unknown_keys_are_told_beside_wrong_values() {
    let text = "num_readers: 0\nintervall: 10s";
    let error = read_strictly::<Server>("veneur.yaml", text, &|_| None).expect_err("one is wrong, one unknown");
    let text = error.to_string();
    assert!(
        text.contains("veneur.yaml: num_readers: ") && text.contains("veneur.yaml: intervall: is not a key"),
        "{text}"
    );
    assert!(text.contains("did you mean interval?"), "{text}");
    let unknown = read::<Server>("veneur.yaml", "intervall: 10s", &|_| None).expect("told, not refused").unknown;
    assert_eq!(unknown.len(), 1);
}

#[test]
fn node_mode_is_off_until_a_kubelet_is_named_and_every_wrong_key_of_it_is_told() {
    assert!(!Server::default().node.is_on());
    let parsed = read::<Server>("variables", "", &|name| {
        (name == "VENEUR_NODE_KUBELETURL").then(|| "https://10.0.0.7:10250".to_owned())
    });
    assert!(parsed.expect("a variable is enough").config.node.is_on());

    let text = "node: {kubelet_url: 'https://:10250/pods', kubelet_certificate_authority: '', refresh: 10ms, \
                labels_as_tags: [team, app.kubernetes.io/name=app, a=b=c, =x], cardinality: all}";
    let error = parse::<Server>("veneur.yaml", text).expect_err("six are wrong");
    let ConfigError::Invalid(problems) = &error else { panic!("{error}") };
    let mut keys: Vec<&str> = problems.iter().map(|invalid| invalid.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "node.cardinality",
            "node.kubelet_certificate_authority",
            "node.kubelet_url",
            "node.labels_as_tags[2]",
            "node.labels_as_tags[3]",
            "node.refresh"
        ]
    );
    let lone =
        "node: {kubelet_url: 'https://[fd00::7]:10250/', kubelet_insecure: true, kubelet_certificate_authority: ''}";
    let node = parse::<Server>("veneur.yaml", lone).expect("nobody's certificate is checked").config.node;
    assert_eq!(node.labels().count(), 0);
}
