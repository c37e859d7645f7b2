//! The one node: containerd, kubelet, kube-proxy and the CNI configuration.
//!
//! containerd and kubelet share a private mount namespace. In it `/run` is empty and `/var` is an overlay whose changes
//! stay in memory, because both programs, runc's shim and libcni write to fixed paths (`/var/lib/kubelet`,
//! `/run/containerd/s`, `/var/lib/cni`, `/var/log/containers`); the state folder alone shows through. Machine-wide kernel
//! settings that kubelet insists on writing are covered by plain files. So clusters cannot touch each other, and the
//! machine keeps nothing.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::image::{Entry, Image};
use super::network::{CLUSTER, DNS_SERVICE, NODE, PODS};
use super::{Cluster, cgroup, packages, process};

/// The node's name, and its name to the API server's authorizer.
pub(crate) const NAME: &str = "node-1";
pub(crate) const USER: &str = "system:node:node-1";

const PAUSE_IMAGE: &str = "localhost/veneur-pause:1";
const LIMIT: Duration = Duration::from_secs(90);

/// `$1` is the state folder; the rest is the command to become.
const PRIVATE_MOUNTS: &str = r#"
state=$1; shift
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/var /run/work /run/state
mount --bind "$state" /run/state
mount -t overlay -o lowerdir=/var,upperdir=/run/var,workdir=/run/work overlay /var
mount --bind /run/state "$state"
mkdir -p "$state/sysctl"
for file in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
    kernel/keys/root_maxbytes; do
    own=$state/sysctl/$(basename "$file")
    cat "/proc/sys/$file" >"$own"
    mount --bind "$own" "/proc/sys/$file"
done
exec "$@"
"#;

/// Starts containerd, as the first process of the private mount namespace.
pub(crate) fn start_containerd(cluster: &Cluster) -> Result<()> {
    let state = cluster.state.to_str().context("the state folder's path is not UTF-8")?;
    let config = cluster.state.join("containerd.toml");
    fs::write(&config, containerd_configuration(cluster)?)?;
    fs::create_dir_all(cluster.state.join("cni"))?;
    fs::write(cluster.state.join("cni/10-veneur.conflist"), cni_configuration(cluster).to_string())?;
    let mut containerd = Command::new("containerd");
    containerd.arg("--config").arg(&config);
    let private = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", PRIVATE_MOUNTS, "sh", state];
    cluster.daemons().start("containerd", &cluster.enter(&process::wrap(private, &containerd)))
}

/// Packs the image of a pod's sandbox, which is busybox with all its names and so serves tests as a toolbox too.
pub(crate) fn import_pause_image(cluster: &Cluster) -> Result<()> {
    let socket = socket(cluster);
    cluster.wait_for("containerd", "socket", LIMIT, || Ok(UnixStream::connect(&socket).is_ok()))?;
    let busybox = packages::static_busybox()?;
    let names = process::output(Command::new(&busybox).arg("--list"))?;
    let mut entries = vec![Entry::File { path: "bin/busybox".into(), source: busybox, mode: 0o755 }];
    entries.extend(
        names
            .lines()
            .filter(|name| *name != "busybox")
            .map(|name| Entry::Link { path: format!("bin/{name}").into(), target: "busybox".into() }),
    );
    let pause = Image {
        reference: PAUSE_IMAGE.into(),
        layers: vec![entries],
        entrypoint: ["/bin/busybox", "sleep", "infinity"].map(String::from).to_vec(),
        ..Image::default()
    };
    cluster.load(&pause).map(drop)
}

/// Loads an OCI archive into containerd and unpacks it.
pub(crate) fn import_image(cluster: &Cluster, archive: &Path) -> Result<()> {
    let mut import = ctr_images(cluster);
    import.args(["import", "--snapshotter"]).arg(snapshotter(cluster)?).arg(archive);
    process::output(&mut import).map(drop)
}

/// Gives an image of the node a second reference.
pub(crate) fn tag_image(cluster: &Cluster, from: &str, to: &str) -> Result<()> {
    process::output(ctr_images(cluster).args(["tag", "--force", from, to])).map(drop)
}

/// References of the images in containerd.
pub(crate) fn images(cluster: &Cluster) -> Result<Vec<String>> {
    let listed = process::output(ctr_images(cluster).args(["list", "--quiet"]))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn ctr_images(cluster: &Cluster) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(socket(cluster)).args(["--namespace", "k8s.io", "images"]);
    ctr
}

/// Starts kubelet and kube-proxy.
pub(crate) fn start_kubelet(cluster: &Cluster) -> Result<()> {
    let pki = cluster.state.join("pki");
    // Pods that ask for the node's resolver get the cluster's, without its search list.
    fs::write(cluster.state.join("resolv.conf"), format!("nameserver {DNS_SERVICE}\n"))?;

    let config = cluster.state.join("kubelet.json");
    fs::write(&config, kubelet_configuration(cluster).to_string())?;
    let mut kubelet = Command::new(cluster.parts.binary("kubelet"));
    kubelet.arg(flag("config", &config));
    kubelet.arg(flag("kubeconfig", &pki.join("kubelet.kubeconfig")));
    kubelet.arg(flag("root-dir", &cluster.state.join("kubelet")));
    kubelet.arg(flag("cert-dir", &pki));
    kubelet.args([format!("--hostname-override={NAME}"), format!("--node-ip={NODE}")]);
    let containerd = cluster.daemons().pid("containerd").context("containerd stopped before kubelet was started")?;
    let mounts = format!("--mount=/proc/{containerd}/ns/mnt");
    cluster.daemons().start("kubelet", &cluster.enter(&process::wrap(["nsenter", &mounts, "--"], &kubelet)))?;

    let config = cluster.state.join("kube-proxy.json");
    fs::write(&config, kube_proxy_configuration(&pki).to_string())?;
    let mut kube_proxy = Command::new(cluster.parts.binary("kube-proxy"));
    kube_proxy.arg(flag("config", &config));
    cluster.daemons().start("kube-proxy", &cluster.enter(&kube_proxy))
}

/// Waits until the API server knows the node as ready.
pub(crate) fn wait_until_ready(cluster: &Cluster) -> Result<()> {
    cluster.wait_for("kubelet", "ready node", LIMIT, || is_ready(cluster))
}

/// Whether the node is ready.
pub(crate) fn is_ready(cluster: &Cluster) -> Result<bool> {
    let text = cluster.kubectl(["get", "node", NAME, "--output=json", "--request-timeout=3s"])?;
    let node: Value = serde_json::from_str(&text).context("kubectl printed no JSON")?;
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
    // The taint outlives the condition by a moment. Others, such as a cordon's, are somebody's wish.
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    Ok(ready && !taints.any(|taint| taint["key"] == "node.kubernetes.io/not-ready"))
}

fn containerd_configuration(cluster: &Cluster) -> Result<String> {
    let state = cluster.state.display();
    let plugins = packages::cni_folder()?;
    Ok(format!(
        r#"version = 2
root = "{state}/containerd/root"
state = "{state}/containerd/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{state}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
netns_mounts_under_state_dir = true
# A profile would stay loaded in the machine's kernel.
disable_apparmor = true
# Without CAP_SYS_RESOURCE a container's score may not go below containerd's own: clamp it instead of failing.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{state}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{state}/runc"
"#,
        socket = socket(cluster).display(),
        plugins = plugins.display(),
        snapshotter = snapshotter(cluster)?,
    ))
}

fn cni_configuration(cluster: &Cluster) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "veneur",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": cluster.state.join("ipam"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet_configuration(cluster: &Cluster) -> Value {
    let state = &cluster.state;
    let endpoint = format!("unix://{}", socket(cluster).display());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": false}, "x509": {"clientCAFile": state.join("pki/ca.crt")}},
        "tlsCertFile": state.join("pki/kubelet.crt"), "tlsPrivateKeyFile": state.join("pki/kubelet.key"),
        "containerRuntimeEndpoint": endpoint, "imageServiceEndpoint": endpoint,
        "cgroupRoot": cgroup::root(&cluster.name), "cgroupDriver": "cgroupfs", "enforceNodeAllocatable": [],
        "failCgroupV1": false, "failSwapOn": false, "oomScoreAdj": 0,
        "clusterDNS": [DNS_SERVICE], "clusterDomain": "cluster.local", "resolvConf": state.join("resolv.conf"),
        "podLogsDir": state.join("log/pods"), "volumePluginDir": state.join("volume-plugins"),
        // The machine is the developer's: a full disk there is no reason to evict, and images cannot be pulled again.
        "evictionHard": {
            "memory.available": "50Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "4s", "eventRecordQPS": 0, "readOnlyPort": 0,
    })
}

fn kube_proxy_configuration(pki: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": pki.join("kube-proxy.kubeconfig")},
        "hostnameOverride": NAME, "clusterCIDR": CLUSTER, "mode": "nftables", "oomScoreAdj": 0,
        // The limit of tracked connections belongs to the whole machine.
        "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
    })
}

fn socket(cluster: &Cluster) -> PathBuf {
    cluster.state.join("containerd.sock")
}

/// Overlays do not stack on overlays: on the file system of a container, layers are copied instead.
fn snapshotter(cluster: &Cluster) -> Result<&'static str> {
    const OVERLAY: u32 = 0x794c_7630; // statfs(2): OVERLAYFS_SUPER_MAGIC
    let kind = rustix::fs::statfs(&cluster.state).context("cannot tell the state folder's file system")?.f_type;
    Ok(if u32::try_from(kind) == Ok(OVERLAY) { "native" } else { "overlayfs" })
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}
