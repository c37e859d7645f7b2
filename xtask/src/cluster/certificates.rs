//! The cluster's own certificate authority: one certificate and one kubeconfig for each identity.
//!
//! Files lie in `STATE/pki` (mode 0700). All of them die with the cluster, so nothing is rotated.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::{network, node};

/// Who somebody is to the API server: user name, group, and the names and addresses it serves under.
struct Identity {
    file: &'static str,
    user: &'static str,
    group: Option<&'static str>,
    serves: &'static [&'static str],
}

const MASTERS: Option<&str> = Some("system:masters");

const IDENTITIES: [Identity; 8] = [
    Identity {
        file: "apiserver",
        user: "kube-apiserver",
        group: None,
        serves: &[
            network::NODE,
            network::API_SERVICE,
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ],
    },
    Identity { file: "kubelet", user: node::USER, group: Some("system:nodes"), serves: &[network::NODE, node::NAME] },
    Identity { file: "apiserver-to-kubelet", user: "kube-apiserver-kubelet-client", group: MASTERS, serves: &[] },
    Identity { file: "admin", user: "kubernetes-admin", group: MASTERS, serves: &[] },
    Identity { file: "controller-manager", user: "system:kube-controller-manager", group: None, serves: &[] },
    Identity { file: "scheduler", user: "system:kube-scheduler", group: None, serves: &[] },
    Identity { file: "kube-proxy", user: "system:kube-proxy", group: None, serves: &[] },
    Identity { file: "coredns", user: super::dns::USER, group: None, serves: &[] },
];

/// Writes `pki/{ca,IDENTITY…}.{crt,key}`, `pki/service-accounts.{key,pub}`, `pki/IDENTITY.kubeconfig`, and the
/// administrator's kubeconfig once more where users look for it.
pub(crate) fn issue(state: &Path) -> Result<()> {
    let folder = state.join("pki");
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;

    let key = KeyPair::generate()?;
    let mut params = parameters("veneur-cluster-ca", None, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let ca = params.self_signed(&key)?.pem();
    fs::write(folder.join("ca.crt"), &ca)?;
    fs::write(folder.join("ca.key"), key.serialize_pem())?;
    let tokens = KeyPair::generate()?;
    fs::write(folder.join("service-accounts.key"), tokens.serialize_pem())?;
    fs::write(folder.join("service-accounts.pub"), tokens.public_key_pem())?;
    let issuer = Issuer::new(params, key);

    for identity in &IDENTITIES {
        let key = KeyPair::generate()?;
        let mut params = parameters(identity.user, identity.group, identity.serves)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let name = |extension: &str| folder.join(format!("{}.{extension}", identity.file));
        fs::write(name("crt"), &certificate)?;
        fs::write(name("key"), key.serialize_pem())?;
        fs::write(name("kubeconfig"), kubeconfig(identity, &ca, &certificate, &key.serialize_pem()))?;
    }
    let admin = state.join("admin.kubeconfig");
    fs::copy(folder.join("admin.kubeconfig"), &admin).context("cannot copy the administrator's kubeconfig")?;
    Ok(fs::set_permissions(admin, Permissions::from_mode(0o600))?)
}

fn parameters(user: &str, group: Option<&str>, serves: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(serves.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    Ok(params)
}

/// A kubeconfig that carries its certificates, so that a copy of the file works too.
fn kubeconfig(identity: &Identity, ca: &str, certificate: &str, key: &str) -> String {
    let server = format!("https://{}:6443", network::NODE);
    let [ca, certificate, key] = [ca, certificate, key].map(|pem| STANDARD.encode(pem));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "veneur",
        "clusters": [{"name": "veneur", "cluster": {"server": server, "certificate-authority-data": ca}}],
        "contexts": [{"name": "veneur", "context": {"cluster": "veneur", "user": identity.user}}],
        "users": [{"name": identity.user, "user": {"client-certificate-data": certificate, "client-key-data": key}}],
    });
    format!("{config:#}\n")
}
