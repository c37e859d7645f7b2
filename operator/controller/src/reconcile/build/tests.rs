use serde_json::{Value, json};
use veneur_config::{Aggregate, NameMatch, Proxy, RingHash, Server, TagCardinality, parse};

use super::{Resources, build};
use crate::test_support::{FULL, LONE, RELAY, SMALLEST, golden, validated, yaml};

/// All objects as one YAML stream. Configuration is left out: its keys are the data plane's, checked below.
fn stream(resources: Resources) -> String {
    let Resources {
        config_map,
        service_accounts,
        role,
        role_binding,
        services,
        certificate,
        network_policies,
        budgets,
        global,
        proxy,
        node,
        autoscalers,
        pod_monitor,
    } = resources;
    let lists = [
        json!([config_map]),
        json!(service_accounts),
        json!(role.as_slice()),
        json!(role_binding.as_slice()),
        json!(services),
        json!(certificate.as_slice()),
        json!(network_policies),
        json!(budgets),
        json!(global.as_slice()),
        json!(proxy.as_slice()),
        json!(node.as_slice()),
        json!(autoscalers),
        json!(pod_monitor.as_slice()),
    ];
    let mut objects: Vec<Value> = lists.iter().flat_map(|list| list.as_array().expect("a list").clone()).collect();
    for object in &mut objects {
        for path in [
            "/data/global.yaml",
            "/data/proxy.yaml",
            "/data/node.yaml",
            "/spec/template/metadata/annotations/veneur.dev~1config-hash",
        ] {
            if let Some(text) = object.pointer_mut(path) {
                *text = Value::from("…");
            }
        }
    }
    objects.iter().map(yaml).collect::<Vec<_>>().join("---\n")
}

#[test]
fn objects_of_each_topology_are_the_golden_ones() {
    for (file, spec) in [("smallest", SMALLEST), ("full", FULL), ("relay", RELAY), ("lone", LONE)] {
        golden(&format!("build/{file}.yaml"), &stream(build(&validated(spec))));
    }
}

/// In a namespace whose pods are all meant a tier would be taken for an application.
#[test]
fn no_tier_is_injected_whatever_is_said_of_its_pods() {
    let annotations = "podAnnotations: {veneur.dev/inject: 'true'}";
    let spec = format!(
        "{SMALLEST}\nproxy: {{{annotations}}}\nglobal: {{{annotations}}}\nnode: {{enabled: true, {annotations}}}"
    );
    let Resources { proxy, global, node, .. } = build(&validated(&spec));
    for tier in [json!(proxy), json!(global), json!(node)] {
        assert_eq!(tier["spec"]["template"]["metadata"]["annotations"]["veneur.dev/inject"], "false", "{tier}");
    }
}

fn configuration(spec: &str, file: &str) -> String {
    build(&validated(spec)).config_map.data.expect("data")[file].clone()
}

fn server(spec: &str, file: &str) -> Server {
    let parsed = parse::<Server>(file, &configuration(spec, file)).expect("a valid configuration");
    assert!(parsed.unknown.is_empty(), "{:?}", parsed.unknown);
    parsed.config
}

fn proxy(spec: &str) -> Proxy {
    let parsed = parse::<Proxy>("proxy.yaml", &configuration(spec, "proxy.yaml")).expect("a valid configuration");
    assert!(parsed.unknown.is_empty(), "{:?}", parsed.unknown);
    parsed.config
}

#[test]
fn globals_read_what_the_spec_says() {
    let server = server(FULL, "global.yaml");
    assert_eq!(server.interval.0.as_secs(), 60);
    assert!(server.synchronize_with_interval && !server.forwards());
    assert_eq!(server.percentiles, [0.5, 0.999]);
    assert_eq!(server.aggregates, [Aggregate::Median, Aggregate::Hmean]);
    let hosts: Vec<String> = server.metric_sinks.iter().map(|sink| format!("{:?}", sink.kind)).collect();
    assert!(
        hosts[0].contains("https://api.datadoghq.eu") && hosts[1].contains("http://intake.test.svc:8080"),
        "{hosts:?}"
    );
    assert!(hosts[0].contains("flush_max_per_body: 1000") && hosts[0].contains("[\"debug.\"]"), "{hosts:?}");
    assert!(!configuration(FULL, "global.yaml").contains("apiKeySecret"));
    assert_eq!(server.tags_exclude, ["pod:|eu-main"]);
    let [route] = server.sink_routes.as_slice() else { panic!("{:?}", server.sink_routes) };
    assert_eq!((&route.name, route.tags.as_slice()), (&NameMatch::Prefix("billing.".into()), &["env:prod".into()][..]));
    assert_eq!((server.max_contexts, server.buffer_max_bytes), (2_000_000, 32 * 1024 * 1024));
    assert_eq!(server.handover_address, "", "drainPolicy: FlushToSinks");
    assert_eq!(server.grpc_tls.ca_file, "/etc/veneur-tls/ca.crt", "proxies show a certificate");
    assert!(!server.imports_over_http());
}

#[test]
fn values_take_half_of_what_a_container_may() {
    let with = |limits: &str| {
        let spec = format!("{SMALLEST}\nglobal: {{ resources: {{ limits: {limits} }} }}");
        server(&spec, "global.yaml").max_state_bytes
    };
    assert_eq!(with("{ memory: 3Gi }"), 3 << 29);
    assert_eq!(with("{ memory: 1Mi }"), 1 << 20, "the least that a process asks for");
    assert_eq!(with("{ cpu: 1 }"), Server::default().max_state_bytes);
    let sidecar = super::configuration::local(&validated(SMALLEST));
    assert_eq!(sidecar.max_state_bytes, 32 << 20, "half of a sidecar's 64Mi");
}

#[test]
fn proxies_read_what_the_spec_says() {
    let plain = proxy(SMALLEST);
    let endpoints = plain.endpoints.expect("endpoints");
    assert_eq!((endpoints.namespace.as_str(), endpoints.service.as_str()), ("metrics", "default-global"));
    assert_eq!((endpoints.port.as_str(), plain.grpc_address.as_str()), ("import", "0.0.0.0:8128"));
    assert!(!plain.forward_tls.is_on());

    let full = proxy(FULL);
    assert_eq!((full.grpc_address.as_str(), full.grpc_tls_address.as_str()), ("", "0.0.0.0:8128"));
    assert_eq!(full.tls.ca_file, "", "sidecars have no certificate");
    assert_eq!(full.forward_tls.server_name, "default-global.metrics.svc", "members are dialled by address");
    assert_eq!((full.grpc_server.max_connection_age.0.as_secs(), full.ring.hash), (90, RingHash::Veneur));
    assert_eq!((full.buffer_max_bytes, full.buffer_max_age.0.as_secs()), (128 * 1024 * 1024, 30));
    assert_eq!(full.shutdown_timeout.0.as_secs(), 30);
}

#[test]
fn agents_of_nodes_read_what_the_spec_says() {
    let node = server(FULL, "node.yaml");
    assert_eq!(node.statsd_listen_addresses, ["udp://0.0.0.0:8125", "tcp://0.0.0.0:8125"]);
    assert_eq!((node.node.cardinality, node.node.kubelet_insecure), (TagCardinality::Orchestrator, true));
    assert_eq!(node.node.labels_as_tags, ["app.kubernetes.io/name=service"]);
    assert_eq!((node.max_contexts, node.max_contexts_per_origin), (2_000_000, 0), "senders are not told apart");
    assert_eq!(
        (node.drop_tags, node.extend_tags),
        (vec!["nonce".into()], vec!["cluster:eu1".into(), "price:5$".into()])
    );
    assert_eq!((node.forward_address.as_str(), node.forward_points), ("default-proxy.metrics.svc:8128", true));
    assert_eq!((node.forward_tls.ca_file.as_str(), node.forward_tls.key_file.as_str()), ("/etc/veneur-tls/ca.crt", ""));
}

#[test]
fn without_proxies_the_one_global_is_sent_to() {
    let global = server(LONE, "global.yaml");
    assert_eq!((global.handover_address.as_str(), global.forward_address.as_str()), ("", ""));
    assert_eq!(server(LONE, "node.yaml").forward_address, "default-global.metrics.svc:8128");
    let spec = build(&validated(LONE)).global.expect("a global").spec.expect("a spec");
    assert_eq!(spec.replicas, Some(1));
    assert_eq!(spec.strategy.expect("a strategy").type_.as_deref(), Some("Recreate"), "never two at once");
    let encrypted = format!("{LONE}tls: {{ mode: SelfSigned }}");
    assert_eq!(server(&encrypted, "global.yaml").grpc_tls.ca_file, "", "who sends has no certificate");
}

#[test]
fn without_globals_proxies_send_elsewhere_and_ask_the_api_server_nothing() {
    let relay = proxy(RELAY);
    assert_eq!((relay.endpoints, relay.forward_addresses), (None, vec!["veneur.eu.example:8128".into()]));
    assert_eq!(relay.forward_tls.server_name, "veneur.eu.example");
    let resources = build(&validated(RELAY));
    assert!(resources.role.is_none() && resources.role_binding.is_none() && resources.global.is_none());
    let pod = resources.proxy.expect("proxies").spec.expect("a spec").template.spec.expect("a pod");
    assert_eq!(pod.automount_service_account_token, Some(false));
}

#[test]
fn chained_globals_merge_and_publish_nothing() {
    let chained = "global: { forwardTo: 'above.other.svc:8128' }";
    let global = server(chained, "global.yaml");
    assert_eq!((global.forward_address.as_str(), global.forward_points), ("above.other.svc:8128", true));
    assert!(global.metric_sinks.is_empty());
    assert_eq!(global.handover_address, "default-proxy.metrics.svc:8128");
}

fn hashes(spec: &str) -> [String; 2] {
    let resources = build(&validated(spec));
    [resources.global, resources.proxy].map(|deployment| {
        let template = deployment.expect("a tier").spec.expect("a spec").template.metadata.expect("metadata");
        template.annotations.expect("annotations")["veneur.dev/config-hash"].clone()
    })
}

#[test]
fn a_change_of_sinks_rolls_the_globals_and_not_the_proxies() {
    let [global, proxy] = hashes(SMALLEST);
    let [other_global, other_proxy] = hashes("sinks: [{name: renamed, debug: {}}]");
    assert_ne!(global, other_global);
    assert_eq!(proxy, other_proxy);
}

#[test]
fn what_running_pods_can_take_replaces_none() {
    for change in [
        "aggregation: {percentiles: [p42]}",
        "aggregation: {aggregates: [Sum], relativeError: [size.]}",
        "tags: {cardinalityLimit: {perGlobal: 77}}",
        "routing: [{name: all, sinks: [debug]}]",
        "tags: {add: {only: sidecars}, exclude: [nonce]}",
    ] {
        let spec = format!("{{{SMALLEST}, {change}}}");
        let resources = build(&validated(&spec));
        assert_eq!(hashes(&spec), hashes(SMALLEST), "{change}");
        assert_eq!(resources.global, build(&validated(SMALLEST)).global, "{change}");
        assert_eq!(resources.proxy, build(&validated(SMALLEST)).proxy, "{change}");
        let told = configuration(&spec, "global.yaml") != configuration(SMALLEST, "global.yaml");
        assert_eq!(told, !change.contains("only: sidecars"), "{change}");
    }
    for change in ["flush: {interval: 20s}", "global: {buffer: {maxAge: 5s}}", "tls: {mode: SelfSigned}"] {
        assert_ne!(hashes(&format!("{{{SMALLEST}, {change}}}"))[0], hashes(SMALLEST)[0], "{change}");
    }
}

#[test]
fn an_autoscaled_tier_leaves_its_number_to_the_autoscaler() {
    let resources = build(&validated(FULL));
    assert_eq!(resources.proxy.expect("proxies").spec.expect("a spec").replicas, None);
    assert_eq!(resources.global.expect("globals").spec.expect("a spec").replicas, Some(5));
    let [scaler] = resources.autoscalers.as_slice() else { panic!("one") };
    assert_eq!((scaler.spec.min_replicas, scaler.spec.max_replicas), (Some(4), 20));
    assert_eq!(scaler.spec.scale_target_ref.name, "default-proxy");
}

#[test]
fn the_names_in_the_certificate_are_those_that_are_checked() {
    let names = super::certificate::names("default", "metrics");
    let host = |address: &str| address.rsplit_once(':').expect("a port").0.to_owned();
    assert!(names.contains(&host(&server(FULL, "node.yaml").forward_address)));
    assert!(names.contains(&proxy(FULL).forward_tls.server_name));
    assert!(names.contains(&"default-global".to_owned()) && names.contains(&"default-proxy.metrics.svc".to_owned()));
}

/// Law of the network: what a tier has to reach it may reach, and globals are reached by proxies alone.
#[test]
fn globals_import_from_proxies_alone() {
    let policies = build(&validated(FULL)).network_policies;
    let policy = |name: &str| {
        let found = policies.iter().find(|policy| policy.metadata.name.as_deref() == Some(name)).expect(name);
        json!(found.spec)
    };
    let global = policy("default-global");
    assert_eq!(global["ingress"][0]["from"][0]["podSelector"]["matchLabels"]["veneur.dev/role"], "proxy");
    assert_eq!(global["ingress"][0]["ports"][0]["port"], 8128);
    assert_eq!(global["ingress"][1]["ports"], json!([{"port": 8127, "protocol": "TCP"}]));
    assert_eq!(policy("default-proxy")["ingress"][0]["from"], Value::Null, "sidecars are everywhere");
    let to = global["egress"].to_string();
    assert!(to.contains("\"kubernetes.io/metadata.name\":\"test\""), "a sink that is a Service: {to}");
    assert!(to.contains("\"port\":443") && to.contains("10.0.0.0/8") && to.contains("fd00::/8"), "{to}");
    assert!(!to.contains("6443"), "globals have nothing to ask the API server: {to}");
    assert!(build(&validated(LONE)).network_policies.is_empty());
}

#[test]
fn building_twice_gives_the_same_objects() {
    assert_eq!(build(&validated(FULL)), build(&validated(FULL)));
}

#[test]
fn every_example_can_be_built_and_its_tiers_read_their_files() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/examples");
    let mut built = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        for object in text.split("\n---\n").filter(|object| object.contains("kind: VeneurPipeline")) {
            let pipeline = serde_saphyr::from_str(object).expect("a pipeline");
            let validated = crate::reconcile::validate::validate(&pipeline, &crate::test_support::defaults());
            let resources = build(&validated.unwrap_or_else(|invalid| panic!("{}: {invalid}", path.display())));
            for (file, text) in resources.config_map.data.expect("data") {
                let unknown = match file.as_str() {
                    "proxy.yaml" => parse::<Proxy>(&file, &text).map(|parsed| parsed.unknown),
                    _ => parse::<Server>(&file, &text).map(|parsed| parsed.unknown),
                };
                let unknown = unknown.unwrap_or_else(|error| panic!("{}: {file}: {error}", path.display()));
                assert!(unknown.is_empty(), "{}: {file}: {unknown:?}", path.display());
            }
            built += 1;
        }
    }
    assert!(built > 20, "{built} only");
}
