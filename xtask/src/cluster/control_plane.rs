//! etcd, API server, controller manager and scheduler.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::Cluster;
use super::network::{API_SERVICE, NODE, SERVICES};

const API_LIMIT: Duration = Duration::from_secs(90);

/// Starts etcd and the API server, which waits for etcd by itself. With an audit policy, what it names is written down.
pub(crate) fn start_api(cluster: &Cluster, audit_policy: Option<&str>) -> Result<()> {
    start(
        cluster,
        "etcd",
        &[
            ("data-dir", cluster.state.join("etcd").into()),
            ("listen-client-urls", "http://127.0.0.1:2379".into()),
            ("advertise-client-urls", "http://127.0.0.1:2379".into()),
            ("listen-peer-urls", "http://127.0.0.1:2380".into()),
            // The data do not outlive the cluster: there is nothing that a crash of the machine could lose.
            ("unsafe-no-fsync", "true".into()),
            ("snapshot-count", "5000".into()),
            ("log-level", "warn".into()),
        ],
    )?;
    let pki = |file: &str| cluster.state.join("pki").join(file).into();
    let mut flags: Vec<(&str, OsString)> = vec![
        ("etcd-servers", "http://127.0.0.1:2379".into()),
        ("advertise-address", NODE.into()),
        ("secure-port", "6443".into()),
        ("service-cluster-ip-range", SERVICES.into()),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
        ("client-ca-file", pki("ca.crt")),
        ("kubelet-certificate-authority", pki("ca.crt")),
        ("kubelet-client-certificate", pki("apiserver-to-kubelet.crt")),
        ("kubelet-client-key", pki("apiserver-to-kubelet.key")),
        ("kubelet-preferred-address-types", "InternalIP".into()),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".into()),
        ("service-account-key-file", pki("service-accounts.pub")),
        ("service-account-signing-key-file", pki("service-accounts.key")),
        ("authorization-mode", "Node,RBAC".into()),
        ("enable-admission-plugins", "NodeRestriction".into()),
        ("allow-privileged", "true".into()),
        ("profiling", "false".into()),
    ];
    if let Some(policy) = audit_policy {
        let path = cluster.state.join("audit-policy.yaml");
        std::fs::write(&path, policy)?;
        flags.push(("audit-policy-file", path.into()));
        flags.push(("audit-log-path", cluster.audit_log().into()));
    }
    start(cluster, "kube-apiserver", &flags)
}

/// Waits until the API server says it is ready.
pub(crate) fn wait_for_api(cluster: &Cluster) -> Result<()> {
    cluster.wait_for("kube-apiserver", "readiness", API_LIMIT, || {
        Ok(cluster.kubectl(["get", "--raw=/readyz", "--request-timeout=5s"])?.trim() == "ok")
    })
}

/// Starts controller manager and scheduler. Each is alone, so neither needs to be elected.
pub(crate) fn start_controllers(cluster: &Cluster) -> Result<()> {
    let pki = |file: &str| cluster.state.join("pki").join(file).into();
    start(
        cluster,
        "kube-controller-manager",
        &[
            ("kubeconfig", pki("controller-manager.kubeconfig")),
            ("use-service-account-credentials", "true".into()),
            ("service-account-private-key-file", pki("service-accounts.key")),
            ("root-ca-file", pki("ca.crt")),
            ("cluster-signing-cert-file", pki("ca.crt")),
            ("cluster-signing-key-file", pki("ca.key")),
            ("leader-elect", "false".into()),
            ("bind-address", "127.0.0.1".into()),
            ("profiling", "false".into()),
            // The default is a folder below /usr, which would be created on the machine.
            ("flex-volume-plugin-dir", cluster.state.join("volume-plugins").into()),
        ],
    )?;
    start(
        cluster,
        "kube-scheduler",
        &[
            ("kubeconfig", pki("scheduler.kubeconfig")),
            ("leader-elect", "false".into()),
            ("bind-address", "127.0.0.1".into()),
            ("profiling", "false".into()),
        ],
    )
}

fn start(cluster: &Cluster, program: &str, flags: &[(&str, OsString)]) -> Result<()> {
    let mut command = Command::new(cluster.parts.binary(program));
    for (flag, value) in flags {
        let mut argument = OsString::from(format!("--{flag}="));
        argument.push(value);
        command.arg(argument);
    }
    cluster.daemons().start(program, &cluster.enter(&command))
}

/// The controllers' first deeds, without which no pod is admitted.
pub(crate) fn wait_for_first_objects(cluster: &Cluster) -> Result<()> {
    cluster.wait_for("kube-controller-manager", "default service account", API_LIMIT, || {
        let address = "jsonpath={.spec.clusterIP}";
        cluster.kubectl(["get", "serviceaccount", "default"])?;
        Ok(cluster.kubectl(["get", "service", "kubernetes", "--output", address])? == API_SERVICE)
    })
}
