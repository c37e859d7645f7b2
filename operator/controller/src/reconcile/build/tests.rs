use serde_json::{Value, json};
use veneur_config::{Aggregate, Proxy, Server, parse};

use super::{Resources, build};
use crate::test_support::{FULL, SMALLEST, golden, validated, yaml};

/// All objects as one YAML stream. Configuration is left out: its keys are the data plane's, checked below.
fn stream(resources: Resources) -> String {
    let Resources { config_map, service_account, role, role_binding, proxy_service, global_service, global, proxy } =
        resources;
    let mut objects = [
        json!(config_map),
        json!(service_account),
        json!(role),
        json!(role_binding),
        json!(proxy_service),
        json!(global_service),
        json!(global),
        json!(proxy),
    ];
    for object in &mut objects {
        for path in
            ["/data/global.yaml", "/data/proxy.yaml", "/spec/template/metadata/annotations/veneur.dev~1config-hash"]
        {
            if let Some(text) = object.pointer_mut(path) {
                *text = Value::from("…");
            }
        }
    }
    objects.iter().map(yaml).collect::<Vec<_>>().join("---\n")
}

#[test]
fn objects_of_the_smallest_pipeline_are_the_golden_ones() {
    golden("build/smallest.yaml", &stream(build(&validated(SMALLEST))));
}

#[test]
fn objects_of_a_full_pipeline_are_the_golden_ones() {
    golden("build/full.yaml", &stream(build(&validated(FULL))));
}

fn configuration(spec: &str, file: &str) -> String {
    build(&validated(spec)).config_map.data.expect("data")[file].clone()
}

#[test]
fn globals_read_what_the_spec_says() {
    let parsed = parse::<Server>("global.yaml", &configuration(FULL, "global.yaml")).expect("a valid configuration");
    assert!(parsed.unknown.is_empty(), "{:?}", parsed.unknown);
    let server = parsed.config;
    assert_eq!(server.interval.0.as_secs(), 60);
    assert!(server.synchronize_with_interval && !server.forwards());
    assert_eq!(server.percentiles, [0.5, 0.999]);
    assert_eq!(server.aggregates, [Aggregate::Median, Aggregate::Hmean]);
    let hosts: Vec<String> = server.metric_sinks.iter().map(|sink| format!("{:?}", sink.kind)).collect();
    assert!(hosts[0].contains("https://api.datadoghq.eu") && hosts[1].contains("http://intake.test:8080"), "{hosts:?}");
    assert!(!configuration(FULL, "global.yaml").contains("apiKeySecret"));
}

#[test]
fn proxies_watch_the_slices_of_the_headless_service() {
    let parsed = parse::<Proxy>("proxy.yaml", &configuration(SMALLEST, "proxy.yaml")).expect("a valid configuration");
    let endpoints = parsed.config.endpoints.expect("endpoints");
    assert_eq!((endpoints.namespace.as_str(), endpoints.service.as_str()), ("metrics", "default-global"));
    assert_eq!(endpoints.port, "import");
}

#[test]
fn a_change_of_sinks_rolls_the_globals_and_not_the_proxies() {
    let hash = |spec: &str| {
        let resources = build(&validated(spec));
        [resources.global, resources.proxy].map(|deployment| {
            let template = deployment.spec.expect("a spec").template.metadata.expect("metadata");
            template.annotations.expect("annotations")["veneur.dev/config-hash"].clone()
        })
    };
    let [global, proxy] = hash(SMALLEST);
    let [other_global, other_proxy] = hash("sinks: [{name: renamed, debug: {}}]");
    assert_ne!(global, other_global);
    assert_eq!(proxy, other_proxy);
}

#[test]
fn building_twice_gives_the_same_objects() {
    assert_eq!(build(&validated(FULL)), build(&validated(FULL)));
}
