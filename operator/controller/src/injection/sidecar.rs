//! The sidecar: a local that forwards to the pipeline's proxies.

use serde_json::{Value, json};
use veneur_config::{Server, to_yaml};

use super::{Skip, SkipReason};
use crate::{
    labels::ADMIN_PORT,
    reconcile::{build::configuration::local, validate::Validated},
};

/// Name of the container.
pub(super) const NAME: &str = "veneur";
/// Name of the empty volume that is mounted where a token would be.
pub(super) const NO_TOKEN: &str = "veneur-no-token";

/// `DogStatsD`: Veneur's port and every client's default.
const DOGSTATSD_PORTS: [u16; 2] = [8126, 8125];
/// Longest configuration that travels in a pod, in bytes.
const LONGEST_CONFIG: usize = 8 * 1024;
/// Where the API server mounts a service account's token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Whether the sidecar binds a port.
pub(super) fn listens_on(port: u64, protocol: &str) -> bool {
    match protocol {
        "UDP" => DOGSTATSD_PORTS.iter().any(|own| u64::from(*own) == port),
        "TCP" => port == u64::from(ADMIN_PORT),
        _ => false,
    }
}

/// The container, as JSON.
pub(super) fn container(pipeline: &Validated) -> Result<Value, Skip> {
    let config = to_yaml(&config(pipeline));
    if config.len() > LONGEST_CONFIG {
        let detail = format!(
            "the configuration of {}/{} takes {} of at most {LONGEST_CONFIG} bytes: shorten aggregation.scopes or tags.add",
            pipeline.namespace,
            pipeline.name,
            config.len()
        );
        return Err(SkipReason::ConfigTooLarge.because(detail));
    }
    Ok(json!({
        "name": NAME,
        "image": pipeline.image,
        "imagePullPolicy": pipeline.pull_policy.as_str(),
        "args": ["local"],
        // Makes an init container a native sidecar: it runs beside the application and stops after it.
        "restartPolicy": "Always",
        "env": [
            // Kubernetes expands $(NAME) in values and reads $$ as $.
            {"name": "VENEUR_CONFIG", "value": config.replace('$', "$$")},
            {"name": "VENEUR_HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "ports": [{"containerPort": ADMIN_PORT, "protocol": "TCP"}],
        // Only whether the sockets are bound, never the proxies: a pipeline that is down must not hold the application.
        "startupProbe": {
            "httpGet": {"path": "/healthcheck", "port": ADMIN_PORT},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        "resources": pipeline.sidecar,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        // Where something is mounted already, the API server mounts no token.
        "volumeMounts": [{"name": NO_TOKEN, "mountPath": TOKEN_PATH, "readOnly": true}],
    }))
}

/// The volume behind that mount. In memory: one on disk would keep the cluster autoscaler from removing the node.
pub(super) fn no_token_volume() -> Value {
    json!({"name": NO_TOKEN, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
}

fn config(pipeline: &Validated) -> Server {
    let listeners = DOGSTATSD_PORTS
        .into_iter()
        .flat_map(|port| ["127.0.0.1", "[::1]"].map(|address| format!("udp://{address}:{port}")))
        .collect();
    Server { statsd_listen_addresses: listeners, ..local(pipeline) }
}
