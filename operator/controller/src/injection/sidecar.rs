//! The sidecar: a local that forwards to the pipeline's proxies.

use serde_json::{Value, json};
use veneur_config::{Every, ForwardTls, Server, followed, tags_of_one, to_yaml};
use veneur_operator_api::SidecarEnv;

use super::{
    Skip, SkipReason,
    settings::{Mode, NodeAgent, Settings, variable},
};
use crate::{
    labels::ADMIN_PORT,
    reconcile::{
        build::configuration::{local, offered},
        revision,
        validate::{ValidSink, Validated},
    },
};

/// Name of the container.
pub(crate) const NAME: &str = "veneur";
/// Name of the empty volume that is mounted where a token would be.
pub(super) const NO_TOKEN: &str = "veneur-no-token";
/// Name of the volume with the socket.
pub(super) const SOCKET_VOLUME: &str = "veneur-socket";

/// Longest configuration that travels in a pod, in bytes.
const LONGEST_CONFIG: usize = 8 * 1024;
/// Where the API server mounts a service account's token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a classic sidecar outlives the word to end, in seconds: what the application says last comes within it.
const CLASSIC_LINGER: u64 = 5;

/// A sidecar that is told to end does so within this, in seconds, however long its pod may take.
const LONGEST_SHUTDOWN: u64 = 120;

/// What one pod's sidecar has of its own.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Tags of the pod, key and value, which replace the pipeline's of the same key.
    pub(super) tags: Vec<(String, String)>,
    pub(super) log_level: Option<&'static str>,
    /// `None`: the pipeline's.
    pub(super) resources: Option<Value>,
    /// The pod is on the node's network, where ports are everybody's.
    pub(super) host_network: bool,
    /// The pod's containers run as root unless they say otherwise.
    pub(super) root_pod: bool,
    pub(super) grace_seconds: u64,
    /// Authorities of whoever it forwards to, PEM; empty for plain text. Not in the revision, which has `tls.mode` alone,
    /// and not followed while it runs: `docs/certificates.md` says which pods have to be made anew, and until when.
    pub(super) authority: String,
}

/// User of the image.
const USER: i64 = 65_532;

/// Ports that a sidecar binds.
pub(super) fn ports(settings: &Settings) -> Vec<(u16, &'static str)> {
    settings.ports().map(|port| (port, "UDP")).chain([(ADMIN_PORT, "TCP")]).collect()
}

/// What a pod of the pipeline gets now, but for the image, for what a sidecar follows while it runs and for what the pod
/// wishes: pods of another revision are out of date. `env_only`: the pod has no sidecar, by its own wish or by the
/// pipeline's `settings`.
///
/// What does not show in the container is hashed beside it, where it is not the default: a version that hashes one thing
/// more makes no pod of other pipelines out of date.
pub(super) fn current_revision(pipeline: &Validated, settings: &Settings, env_only: bool) -> Result<String, Skip> {
    Ok(revision::of(&hashed(pipeline, settings, env_only)?.to_string()))
}

fn hashed(pipeline: &Validated, settings: &Settings, env_only: bool) -> Result<Value, Skip> {
    let own = Own::default();
    let config = config(pipeline, settings, &own);
    let config = if config.follow_settings { followed(&config, &Server::default()) } else { config };
    let mut container = container_with(&config, pipeline, settings, &own)?;
    container["image"] = Value::Null;
    if !settings.from_pod_labels.is_empty() {
        container["fromPodLabels"] = json!(settings.from_pod_labels);
    }
    if settings.sidecar.env != SidecarEnv::default() {
        container["clients"] = json!(settings.sidecar.env);
    }
    if settings.mode == Mode::EnvOnly {
        container["mode"] = json!(settings.mode);
    }
    if env_only {
        match settings.node {
            Some(NodeAgent::Service(_)) => {}
            Some(NodeAgent::HostPort) => container["node"] = json!("HostPort"),
            None => container["node"] = json!("none"),
        }
    } else if pipeline.is_encrypted() {
        // Not whom it trusts: that changes while an authority is replaced.
        container["tls"] = json!(pipeline.tls.mode);
    }
    Ok(container)
}

/// The container, as JSON.
pub(super) fn container(pipeline: &Validated, settings: &Settings, own: &Own) -> Result<Value, Skip> {
    container_with(&config(pipeline, settings, own), pipeline, settings, own)
}

fn container_with(config: &Server, pipeline: &Validated, settings: &Settings, own: &Own) -> Result<Value, Skip> {
    let config = to_yaml(&differing(config));
    if config.len() > LONGEST_CONFIG {
        let detail = format!(
            "the configuration of {}/{} takes {} of at most {LONGEST_CONFIG} bytes: shorten aggregation.scopes or tags",
            pipeline.namespace,
            pipeline.name,
            config.len()
        );
        return Err(SkipReason::ConfigTooLarge.because(detail));
    }
    let mut env = vec![
        // Kubernetes expands $(NAME) in values and reads $$ as $.
        variable("VENEUR_CONFIG", config.replace('$', "$$")),
        json!({"name": "VENEUR_HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    ];
    if let Some(level) = own.log_level {
        env.push(variable("VENEUR_LOG", level));
    }
    if settings.is_direct() {
        env.extend(pipeline.sinks.iter().filter_map(api_key));
    }
    // Where something is mounted already, the API server mounts no token.
    let mut mounts = vec![json!({"name": NO_TOKEN, "mountPath": TOKEN_PATH, "readOnly": true})];
    if settings.has_uds() {
        mounts.push(json!({"name": SOCKET_VOLUME, "mountPath": settings.folder()}));
    }
    let mut container = json!({
        "name": NAME,
        "image": pipeline.image,
        "imagePullPolicy": pipeline.pull_policy.as_str(),
        "args": ["local"],
        "env": env,
        "resources": own.resources.clone().unwrap_or_else(|| base_resources(pipeline)),
        "securityContext": security(settings, own),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    });
    if !own.host_network {
        container["ports"] = json!([{"containerPort": ADMIN_PORT, "protocol": "TCP"}]);
    }
    match settings.mode {
        Mode::Native | Mode::EnvOnly => {
            // Makes an init container a native sidecar: it runs beside the application and stops after it.
            container["restartPolicy"] = json!("Always");
            if own.host_network {
                // No port of the node is bound, so there is nothing to probe: the sockets are there long before.
                container["lifecycle"] = json!({"postStart": {"sleep": {"seconds": 1}}});
            } else if settings.sidecar.startup_probe {
                // Only whether the sockets are bound, never the proxies: a pipeline that is down must not hold the
                // application.
                container["startupProbe"] = json!({
                    "httpGet": {"path": "/healthcheck", "port": ADMIN_PORT},
                    "periodSeconds": 1,
                    "failureThreshold": 60,
                });
            }
        }
        Mode::Classic => {
            // No probe: it would count in the readiness of the application's pod.
            let linger = CLASSIC_LINGER.min(own.grace_seconds / 2).max(1);
            container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": linger}}});
        }
    }
    Ok(container)
}

/// Resources of the pipeline's sidecars.
pub(super) fn base_resources(pipeline: &Validated) -> Value {
    serde_json::to_value(&pipeline.sidecar).expect("resources are maps of texts")
}

/// Volumes that the sidecar needs. In memory: those on disk would keep the cluster autoscaler from removing the node.
pub(super) fn volumes(settings: &Settings) -> Vec<Value> {
    let in_memory = |name: &str| json!({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}});
    let socket = settings.has_uds().then(|| in_memory(SOCKET_VOLUME));
    [in_memory(NO_TOKEN)].into_iter().chain(socket).collect()
}

fn config(pipeline: &Validated, settings: &Settings, own: &Own) -> Server {
    let mut listeners: Vec<String> = settings
        .ports()
        .flat_map(|port| ["127.0.0.1", "[::1]"].map(|address| format!("udp://{address}:{port}")))
        .collect();
    if settings.has_uds() {
        listeners.push(format!("unixgram://{}", settings.socket()));
    }
    let local = local(pipeline);
    let instance_tags: Vec<String> = own.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let mut extend_tags = tags_of_one(&pipeline.tags, &instance_tags);
    extend_tags.sort();
    // As long as the kubelet would let it, if the application has ended by itself; a second less, to say what was lost.
    let shutdown_timeout = match own.grace_seconds {
        0 => local.shutdown_timeout,
        grace => Every::seconds(grace.saturating_sub(1).clamp(1, LONGEST_SHUTDOWN)),
    };
    Server {
        shutdown_timeout,
        // In both places: an older version does not follow, and reads the first alone.
        extend_tags,
        instance_tags,
        follow_settings: offered(pipeline).is_some(),
        statsd_listen_addresses: listeners,
        http_address: if own.host_network { format!("{}/admin.sock", settings.folder()) } else { local.http_address },
        forward_points: !settings.is_direct(),
        forward_tls: ForwardTls { ca: own.authority.clone(), ..ForwardTls::default() },
        metric_sinks: if settings.is_direct() {
            pipeline.sinks.iter().map(|sink| sink.sink.clone()).collect()
        } else {
            Vec::new()
        },
        ..local
    }
}

/// What the restricted Pod Security Standard asks for, and no more: on clusters that give each namespace its own users,
/// naming one would be refused.
fn security(settings: &Settings, own: &Own) -> Value {
    let mut security = json!({
        "runAsNonRoot": true,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let user = settings.sidecar.security_context.run_as_user.or(own.root_pod.then_some(USER));
    for (key, id) in [("runAsUser", user), ("runAsGroup", settings.sidecar.security_context.run_as_group)] {
        if let Some(id) = id {
            security[key] = json!(id);
        }
    }
    security
}

/// The key of a sink, from a Secret of the pod's own namespace.
fn api_key(sink: &ValidSink) -> Option<Value> {
    let secret = sink.api_key.as_ref()?;
    let key = json!({"secretKeyRef": {"name": secret.name, "key": secret.key}});
    Some(json!({"name": sink.api_key_variable(), "valueFrom": key}))
}

/// What differs from the defaults, and the interval. A version that has one more default makes no pod out of date by it.
fn differing(config: &Server) -> Value {
    let of = |config: &Server| serde_json::to_value(config).expect("configuration holds only texts, numbers and lists");
    let (mut all, defaults) = (of(config), of(&Server::default()));
    if let Some(keys) = all.as_object_mut() {
        keys.retain(|key, value| key == "interval" || defaults.get(key) != Some(value));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{SMALLEST, pipeline, validated};

    /// Whoever upgrades the operator is to restart no workload by it.
    #[test]
    fn of_a_pipeline_of_defaults_the_container_alone_is_hashed() {
        for spec in [SMALLEST, "sinks: [{name: debug, debug: {}}]\nnode: {enabled: true}"] {
            let (validated, settings) = (validated(spec), Settings::of(&pipeline("default", spec)));
            let container = container(&validated, &settings, &Own::default()).expect("it fits");
            let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
            let hashed = hashed(&validated, &settings, false).expect("it fits");
            assert_eq!(keys(&hashed), keys(&container), "{spec}");
        }
    }
}
