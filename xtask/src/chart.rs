//! The chart: what is generated from it, and what must hold of everything it renders.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cluster::progress::Progress;
use crate::cluster::{Parts, process, workspace};

const CHART: &str = "charts/veneur-operator";
const NAMESPACE: &str = "veneur-system";
/// The newest version that the definition's rules were tried on.
const KUBERNETES: &str = "1.34.4";
/// APIs of what a cluster may have besides Kubernetes.
const MONITORING: &[&str] = &["monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule"];
const CERT_MANAGER: &[&str] = &["cert-manager.io/v1/Certificate"];

/// A way to install, and the file that shows what it renders.
struct Case {
    file: &'static str,
    values: &'static [&'static str],
    apis: &'static [&'static str],
}

const CASES: [Case; 4] = [
    Case { file: "manifests/install.yaml", values: &[], apis: &[] },
    Case {
        file: "xtask/golden/chart/ha-monitored.yaml",
        values: &[
            "--values=charts/veneur-operator/values-ha.yaml",
            "--set=crds.enabled=false",
            "--set=rbac.evictMissed=true",
        ],
        apis: MONITORING,
    },
    Case {
        file: "xtask/golden/chart/cert-manager.yaml",
        values: &[
            "--set=webhook.certificates.mode=CertManager",
            "--set=crds.enabled=false",
            "--set=rbac.tierCertificates=false",
        ],
        apis: CERT_MANAGER,
    },
    Case {
        file: "xtask/golden/chart/least.yaml",
        values: &[
            "--set=crds.enabled=false",
            "--set=operator.replicas=1",
            "--set=rbac.tierCertificates=false",
            "--set=rbac.inPlaceUpgrade=false",
            "--set=rbac.certManager=auto",
            "--set=rbac.monitoring=auto",
            "--set=networkPolicy.enabled=false",
        ],
        apis: &[],
    },
];

/// Values that nobody may install with, and what Helm says of them.
const WRONG: [(&str, &str); 6] = [
    ("operator.replica=2", "additional properties 'replica' not allowed"),
    ("operator.replicas=0", "minimum: got 0, want 1"),
    ("webhook.failurePolicy=Sometimes", "value must be one of 'Ignore', 'Fail'"),
    ("webhook.certificates.authorityLifetime=1y", "does not match pattern"),
    ("rbac.monitoring=maybe", "value must be one of 'auto'"),
    ("image.digest=latest", "does not match pattern"),
];

/// Writes what is generated from the chart.
pub(crate) fn generate(progress: &Progress) -> Result<()> {
    let helm = helm(progress)?;
    for case in &CASES {
        let path = workspace().join(case.file);
        fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        fs::write(&path, rendered(&helm, case)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Lints the chart, compares what is generated from it, and checks what it renders.
pub(crate) fn check(progress: &Progress) -> Result<()> {
    let helm = helm(progress)?;
    progress.step("chart", |_| {
        process::output(Command::new(&helm).args(["lint", "--strict", CHART]).current_dir(workspace()))?;
        for case in &CASES {
            let text = rendered(&helm, case)?;
            let kept = fs::read_to_string(workspace().join(case.file)).unwrap_or_default();
            ensure!(kept == text, "{} is not what the chart renders: run `cargo xtask gen`", case.file);
            judge(&text).with_context(|| format!("what {} shows", case.file))?;
        }
        for (value, expected) in WRONG {
            let Err(refusal) = template(&helm, &["--set", value], &[]) else { bail!("--set {value} is not refused") };
            let refusal = format!("{refusal:#}");
            ensure!(refusal.contains(expected), "--set {value}: expected {expected:?}, helm says: {refusal}");
        }
        Ok(())
    })
}

fn helm(progress: &Progress) -> Result<PathBuf> {
    Parts::in_cache()?.built("helm", progress)
}

fn rendered(helm: &PathBuf, case: &Case) -> Result<String> {
    let objects = template(helm, case.values, case.apis)?;
    if !case.file.starts_with("manifests/") {
        return Ok(objects);
    }
    // Helm makes the namespace where it installs, and does not render it.
    Ok(format!(
        "# The operator, for kubectl: `kubectl apply --server-side -f manifests/install.yaml`.\n\
         # Generated from {CHART} by `cargo xtask gen`; change it there.\n\
         apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n{}",
        objects.replace("app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl")
    ))
}

fn template(helm: &PathBuf, values: &[&str], apis: &[&str]) -> Result<String> {
    let mut command = Command::new(helm);
    command.args(["template", "veneur-operator", CHART, "--skip-tests", "--namespace", NAMESPACE]);
    command.args(["--kube-version", KUBERNETES]).args(values).current_dir(workspace());
    command.args(apis.iter().flat_map(|api| ["--api-versions", api]));
    process::output(&mut command)
}

/// What must hold of whatever is rendered.
fn judge(text: &str) -> Result<()> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).context("it is no YAML")?;
    // A definition only describes fields of such names.
    for object in objects.iter().filter(|object| object["kind"] != "CustomResourceDefinition") {
        let object = object.to_string();
        for secret in ["\"caBundle\":", "BEGIN CERTIFICATE", "PRIVATE KEY"] {
            ensure!(
                !object.contains(secret),
                "it holds {secret}: certificates are issued in the cluster, or every render differs"
            );
        }
    }
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    for binding in of_kind("ClusterRoleBinding").chain(of_kind("RoleBinding")) {
        let role = &binding["roleRef"]["name"];
        ensure!(role == "veneur-operator", "{} {role} is bound, which is not the chart's", binding["roleRef"]["kind"]);
    }
    for role in of_kind("ClusterRole") {
        rules(role)?;
        for rule in
            role["rules"].as_array().into_iter().flatten().filter(|rule| words(rule, "resources").contains("secrets"))
        {
            let verbs = words(rule, "verbs");
            ensure!(
                verbs == BTreeSet::from(["create", "patch"]),
                "Secrets of every namespace can be used for {verbs:?}"
            );
        }
    }
    for role in of_kind("Role") {
        rules(role)?;
        ensure!(role["metadata"]["namespace"] == NAMESPACE, "a Role in another namespace than the release's");
        for rule in
            role["rules"].as_array().into_iter().flatten().filter(|rule| words(rule, "resources").contains("secrets"))
        {
            let named = !words(rule, "resourceNames").is_empty();
            ensure!(named || words(rule, "verbs") == BTreeSet::from(["create"]), "a Role that reads every Secret");
        }
    }
    for deployment in of_kind("Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        ensure!(pod["securityContext"]["runAsNonRoot"] == true && pod["hostNetwork"].is_null(), "a privileged pod");
        for container in pod["containers"].as_array().into_iter().flatten() {
            let security = &container["securityContext"];
            let drops = security["capabilities"]["drop"] == serde_json::json!(["ALL"]);
            ensure!(drops && security["allowPrivilegeEscalation"] == false, "a privileged container");
            ensure!(container["resources"]["limits"]["memory"].is_string(), "a container without a memory limit");
        }
    }
    for definition in of_kind("CustomResourceDefinition") {
        let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
        ensure!(policy == "keep", "a definition that goes with the release, and every pipeline with it");
    }
    for webhook in of_kind("MutatingWebhookConfiguration").filter_map(|one| one["webhooks"].as_array()).flatten() {
        let conditions = webhook["matchConditions"].as_array().map_or(0, Vec::len);
        ensure!(conditions == 2, "webhook {} asks about pods that did not opt in", webhook["name"]);
    }
    Ok(())
}

/// No rule may grant everything, or the right to grant.
fn rules(role: &Value) -> Result<()> {
    for rule in role["rules"].as_array().into_iter().flatten() {
        for key in ["apiGroups", "resources", "verbs"] {
            let words = words(rule, key);
            for word in ["*", "escalate", "bind", "impersonate", "deletecollection"] {
                ensure!(!words.contains(word), "{} grants {word} in {key}", role["kind"]);
            }
        }
    }
    Ok(())
}

fn words<'a>(rule: &'a Value, key: &str) -> BTreeSet<&'a str> {
    rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster_role(rule: &str) -> String {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{ name: x }}\nrules: [{rule}]\n"
        )
    }

    #[test]
    fn what_grants_too_much_is_refused() {
        for (rule, expected) in [
            ("{ apiGroups: [''], resources: [secrets], verbs: [get, create] }", "every namespace"),
            ("{ apiGroups: ['*'], resources: [pods], verbs: [get] }", "grants *"),
            ("{ apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate] }", "grants escalate"),
        ] {
            let error = judge(&cluster_role(rule)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        judge(&cluster_role("{ apiGroups: [''], resources: [secrets], verbs: [create, patch] }")).unwrap();
        let admin = "kind: ClusterRoleBinding\nroleRef: { kind: ClusterRole, name: cluster-admin }\n";
        assert!(judge(admin).unwrap_err().to_string().contains("cluster-admin"));
        assert!(judge("clientConfig:\n  caBundle: abc\n").is_err());
    }
}
