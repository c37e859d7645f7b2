//! A proxy's files and variables, the original's and ours: every key has a place, and what is said about it is known.

use veneur_config::{
    Dns, Every, GrpcServer, IgnoreTag, ListenTls, Proxy, RingHash, Secrets, Server, Statsd, TagKind, Weight,
    documented, json, parse, read, redacted_json, redacted_yaml, yaml,
};

/// What the newest can hold.
const NEWEST: &str = include_str!("files/proxy.yaml");
/// What 14.2.0's can hold.
const OF_14: &str = include_str!("files/proxy-14.2.0.yaml");

/// The least that a proxy needs.
const LEAST: &str = "{grpc_address: '0.0.0.0:8128', forward_addresses: ['global:8128']}";

fn told(text: &str) -> Vec<(String, Weight)> {
    let parsed = parse::<Proxy>("f", text).expect(text);
    assert_eq!(parsed.unknown, []);
    parsed.notes.into_iter().map(|note| (note.key, note.weight)).collect()
}

#[test]
fn every_key_of_the_newest_file_has_its_meaning_or_is_told_to_have_none() {
    let proxy = parse::<Proxy>("proxy.yaml", NEWEST).expect("the original's file starts").config;
    let seconds = Every::seconds;
    let expected = Proxy {
        debug: true,
        dial_timeout: seconds(5),
        forward_addresses: vec!["global:8128".into()],
        grpc_address: "0.0.0.0:8128".into(),
        grpc_server: GrpcServer {
            connection_timeout: seconds(1),
            max_connection_idle: seconds(2),
            max_connection_age: seconds(3),
            max_connection_age_grace: seconds(4),
            ping_timeout: seconds(5),
            keepalive_timeout: seconds(6),
            ..GrpcServer::default()
        },
        grpc_tls_address: "0.0.0.0:8129".into(),
        http: veneur_config::ProxyHttp { enable_config: true, enable_profiling: true, import: None },
        http_address: "0.0.0.0:8127".into(),
        ignore_tags: vec![
            IgnoreTag { kind: TagKind::Exact, value: "host".into(), unset: false },
            IgnoreTag { kind: TagKind::Prefix, value: "le:".into(), unset: false },
            IgnoreTag { kind: TagKind::Regex, value: "^pod:".into(), unset: true },
        ],
        sentry_dsn: "hunter2".into(),
        shutdown_timeout: seconds(10),
        statsd: Statsd {
            address: "localhost:8126".into(),
            aggregation_interval: seconds(10),
            channel_buffer_size: 8192,
            messages_per_payload: 100,
        },
        tls: ListenTls { ca_file: "/ca.pem".into(), cert_file: "/cert.pem".into(), key_file: "/key.pem".into() },
        ..Proxy::default()
    };
    assert_eq!(proxy, expected);
    let mut told: Vec<String> = told(NEWEST).into_iter().map(|(key, _)| key).collect();
    told.sort();
    let without_effect = [
        "discovery_interval",
        "grpc_server.max_connection_idle",
        "ignore_tags[2].unset",
        "runtime_metrics_interval",
        "send_buffer_size",
        "sentry_dsn",
        "statsd.aggregation_interval",
        "statsd.channel_buffer_size",
        "statsd.messages_per_payload",
        "tls.server_name",
    ];
    assert_eq!(told, without_effect);
}

#[test]
fn every_key_of_14_2_0s_file_has_its_meaning_or_is_told_to_have_none() {
    let proxy = parse::<Proxy>("proxy.yaml", OF_14).expect("an older file starts").config;
    let expected = Proxy {
        debug: true,
        forward_addresses: vec!["global:8128".into()],
        forward_timeout: Every::seconds(7),
        grpc_address: "0.0.0.0:8128".into(),
        http: veneur_config::ProxyHttp { enable_config: false, enable_profiling: true, import: None },
        http_address: "0.0.0.0:8127".into(),
        ignore_tags: vec![IgnoreTag { kind: TagKind::Exact, value: "host".into(), unset: false }],
        sentry_dsn: "hunter2".into(),
        stats_address: "localhost:8125".into(),
        ..Proxy::default()
    };
    assert_eq!(proxy, expected);
    let told = told(OF_14);
    for (key, weight) in [
        ("consul_refresh_interval", Weight::Info),
        ("consul_trace_service_name", Weight::Warning),
        ("grpc_forward_address", Weight::Info),
        ("idle_connection_timeout", Weight::Info),
        ("max_idle_conns", Weight::Info),
        ("max_idle_conns_per_host", Weight::Info),
        ("runtime_metrics_interval", Weight::Info),
        ("sentry_dsn", Weight::Warning),
        ("ssf_destination_address", Weight::Warning),
        ("trace_address", Weight::Warning),
        ("trace_api_address", Weight::Warning),
        ("tracing_client_capacity", Weight::Warning),
    ] {
        assert!(told.contains(&(key.to_owned(), weight)), "{key}: {told:?}");
    }
}

#[test]
fn who_asks_consul_is_told_what_to_ask_instead() {
    for key in ["forward_service", "consul_forward_service_name", "consul_forward_grpc_service_name"] {
        let error = parse::<Proxy>("p", &format!("grpc_address: ':8128'\n{key}: globals")).expect_err(key).to_string();
        assert!(
            error.contains(&format!(
                "p: {key}: members are not asked from Consul: name the globals' Service in endpoints"
            )),
            "{error}"
        );
        let name = format!("VENEUR_PROXY_{}", key.replace('_', "").to_uppercase());
        let variable = |asked: &str| (asked == name).then(|| "globals".to_owned());
        let error = read::<Proxy>("p", LEAST, &variable).expect_err(key).to_string();
        assert!(error.starts_with(&format!("{name}: ")) && error.contains("endpoints"), "{error}");
    }
}

#[test]
fn the_old_address_of_members_means_that_they_are_posted_to() {
    for address in ["global:8127", "http://global:8127"] {
        let text = format!("{{grpc_address: '0.0.0.0:8128', forward_address: '{address}'}}");
        let proxy = parse::<Proxy>("p", &text).expect("read").config;
        assert_eq!(proxy.forward_addresses, ["http://global:8127"]);
    }
}

#[test]
fn the_two_old_addresses_of_a_global_make_one_member() {
    let text =
        "{grpc_address: '0.0.0.0:8128', forward_address: 'http://global:8127', grpc_forward_address: 'global:8128'}";
    let proxy = parse::<Proxy>("p", text).expect("read").config;
    assert_eq!(proxy.forward_addresses, ["global:8128"]);
    assert!(told(text).contains(&("forward_address".to_owned(), Weight::Warning)), "{:?}", told(text));
}

#[test]
fn a_wrong_value_is_named_with_what_is_allowed() {
    let cases = [
        ("{}", "grpc_address: is empty: a proxy imports somewhere"),
        ("grpc_address: localhost", "grpc_address: \"localhost\" must look like 0.0.0.0:8128"),
        ("{grpc_address: 'a:1', grpc_tls_address: 'a:1'}", "grpc_tls_address: \"a:1\" is grpc_address"),
        ("grpc_tls_address: 'a:1'", "tls.cert_file: is empty: grpc_tls_address needs a certificate and its key"),
        ("http_address: einhorn@0", "http_address: \"einhorn@0\" must look like"),
        ("forward_addresses: ['https://a:1']", "forward_addresses[0]: \"https://a:1\" must look like"),
        ("forward_addresses: ['http://a']", "forward_addresses[0]: \"http://a\" must look like"),
        ("forward_addresses: [':1']", "forward_addresses[0]: \":1\" must look like 10.0.0.7:8128"),
        ("endpoints: {namespace: a, service: b}", "endpoints.port: is empty: all three keys are needed"),
        ("dns: {address: globals}", "dns.address: \"globals\" must look like veneur-global.metrics.svc:8128"),
        ("dns: {address: 'globals:1', refresh: 1500ms}", "dns.refresh: 1.5s must be whole seconds, at least 1s"),
        ("{dns: {address: 'a:1'}, forward_addresses: ['a:1']}", "forward_addresses: excludes dns: keep one of them"),
        ("grpc_address: 'a:1'", "forward_addresses: is empty, and there is no endpoints section and no dns section"),
        ("ring: {hash: Maglev}", "ring.hash: \"Maglev\" must be one of Rendezvous, Veneur"),
        ("ignore_tags: [host]", "ignore_tags[0]: \"host\" must be a section of keys"),
        (
            "ignore_tags: [{kind: suffix, value: a}]",
            "ignore_tags[0].kind: \"suffix\" must be one of exact, prefix, regex",
        ),
        (
            "ignore_tags: [{kind: regex, value: 'a('}]",
            "ignore_tags[0].value: \"a(\" is no regular expression: unclosed group",
        ),
        ("forward_tls: {server_name: a}", "forward_tls.server_name: needs ca_file"),
        ("forward_tls: {ca_file: a, cert_file: b}", "forward_tls.cert_file: needs key_file"),
        ("grpc_server: {max_streams: 0}", "grpc_server.max_streams: 0 would let nobody send"),
        ("interval: 1500ms", "interval: 1.5s must be whole seconds"),
        ("dial_timeout: long", "dial_timeout: \"long\" is not a duration"),
    ];
    for (text, expected) in cases {
        let error = parse::<Proxy>("f", text).expect_err(text).to_string();
        assert!(error.contains(&format!("f: {expected}")), "{text}: {error}");
    }
}

#[test]
fn a_timeout_of_nothing_is_the_default() {
    let text = "{grpc_address: 'a:1', forward_addresses: ['b:1'], dial_timeout: 0s, forward_timeout: 0s}";
    let proxy = parse::<Proxy>("f", text).expect("valid").config;
    let default = Proxy::default();
    assert_eq!(proxy.dial_timeout(), default.dial_timeout.0);
    assert_eq!(proxy.forward_timeout(), default.forward_timeout.0);
    assert_eq!(told(text), [("dial_timeout".to_owned(), Weight::Info), ("forward_timeout".to_owned(), Weight::Info)]);
}

#[test]
fn variables_alone_make_a_configuration() {
    let environment = [
        ("VENEUR_PROXY_GRPCADDRESS", "0.0.0.0:8128"),
        ("VENEUR_PROXY_DNS_ADDRESS", "globals:8128"),
        ("VENEUR_PROXY_DNS_REFRESH", "30s"),
        ("VENEUR_PROXY_RING_HASH", "Veneur"),
        ("VENEUR_PROXY_GRPCSERVER_MAXCONNECTIONAGE", "1m"),
        ("VENEUR_PROXY_FORWARDTLS_CAFILE", "/ca.pem"),
        ("VENEUR_PROXY_ENABLEPROFILING", "true"),
    ];
    let variable =
        |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    let proxy = read::<Proxy>("none", "", &variable).expect("valid").config;
    assert_eq!(proxy.dns, Some(Dns { address: "globals:8128".into(), refresh: Every::seconds(30) }));
    assert_eq!((proxy.ring.hash, proxy.grpc_server.max_connection_age), (RingHash::Veneur, Every::seconds(60)));
    assert!(proxy.forward_tls.is_on() && proxy.http.enable_profiling);
}

#[test]
fn every_variable_sets_one_key_only() {
    let names = veneur_config::variable_names::<Proxy>();
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((sorted.len(), names.len() > 50), (names.len(), true));
    // Each, given something that fits nothing, is heard of; none falls into silence.
    for name in &names {
        let members = match name.split('_').nth(2) {
            Some("ENDPOINTS") => "endpoints: {namespace: a, service: b, port: c}",
            Some("DNS") => "dns: {address: 'globals:8128'}",
            _ => "forward_addresses: ['global:8128']",
        };
        let text = format!("grpc_address: '0.0.0.0:8128'\n{members}");
        let without = parse::<Proxy>("none", &text).expect("valid").config;
        let environment = |asked: &str| (asked == name).then(|| "\u{1}".to_owned());
        match read::<Proxy>("none", &text, &environment) {
            Err(error) => assert!(error.to_string().contains(name.as_str()), "{name}: {error}"),
            Ok(parsed) => assert!(parsed.config != without || !parsed.notes.is_empty(), "{name} says nothing"),
        }
    }
}

#[test]
fn no_secret_is_shown_unless_it_is_asked_for() {
    let proxy = parse::<Proxy>("proxy.yaml", NEWEST).expect("valid").config;
    for text in [redacted_yaml(&proxy), redacted_json(&proxy), documented(&proxy), format!("{proxy:?}")] {
        assert!(!text.contains("hunter") && text.contains("REDACTED"), "{text}");
    }
    for text in [yaml(&proxy, Secrets::Shown), json(&proxy, Secrets::Shown)] {
        assert!(text.contains("hunter2"), "{text}");
    }
    let error = parse::<Proxy>("f", "sentry_dsn: [hunter2]").expect_err("a list").to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn json_has_the_originals_names() {
    let text = redacted_json(&parse::<Proxy>("proxy.yaml", NEWEST).expect("valid").config);
    for line in ["  \"GrpcTlsAddress\": ", "    \"MaxConnectionAgeGrace\": 4000000000,", "    \"EnableConfig\": true,"]
    {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn what_is_printed_parses_back() {
    let dns = Some(Dns { address: "globals:8128".into(), ..Dns::default() });
    let mut proxy = parse::<Proxy>("proxy.yaml", NEWEST).expect("valid").config;
    for proxy in [proxy.clone(), {
        proxy.forward_addresses.clear();
        proxy.dns = dns;
        proxy
    }] {
        let printed = yaml(&proxy, Secrets::Shown);
        assert_eq!(parse::<Proxy>("printed", &printed).expect(&printed).config, proxy);
    }
}

#[test]
fn a_members_address_says_how_it_is_spoken_to() {
    let text = "{grpc_address: '0.0.0.0:1', forward_addresses: ['a:1', 'http://b:2', 'grpc+unary://c:3']}";
    let parsed = parse::<Proxy>("f", text).expect("every dialect is spoken");
    assert_eq!(parsed.config.forward_addresses, ["a:1", "http://b:2", "grpc+unary://c:3"]);
}

#[test]
fn with_tls_nothing_is_imported_in_plain_text_unless_it_is_asked_for() {
    let server = |text: &str| parse::<Server>("x.yaml", text).expect("valid").config.imports_over_http();
    assert!(server(""));
    let tls = "grpc_address: ':8128'\ngrpc_tls: {cert_file: a, key_file: b}";
    assert!(!server(tls));
    assert!(server(&format!("{tls}\nhttp: {{import: true}}")));
    let proxy = |text: &str| {
        let text = format!("forward_addresses: ['g:8128']\n{text}");
        parse::<Proxy>("x.yaml", &text).expect("valid").config.imports_over_http()
    };
    let tls = "grpc_tls_address: ':8129'\ntls: {cert_file: a, key_file: b}";
    assert!(proxy("grpc_address: ':8128'"));
    assert!(!proxy(tls));
    assert!(proxy(&format!("{tls}\ngrpc_address: ':8128'")) && proxy(&format!("{tls}\nhttp: {{import: true}}")));
}

#[test]
fn a_route_to_a_sink_that_is_not_there_is_refused() {
    let text = "metric_sinks: [{name: a, kind: debug}]\nsink_routes: [{name: {kind: any}, sinks: [a, b]}, {name: {kind: any}, sinks: []}]";
    let error = parse::<Server>("x.yaml", text).expect_err("no sink b").to_string();
    assert!(error.contains("sink_routes[0].sinks") && error.contains("\"b\" is not the name of an entry"), "{error}");
    assert!(error.contains("sink_routes[1].sinks") && error.contains("is empty"), "{error}");
}
