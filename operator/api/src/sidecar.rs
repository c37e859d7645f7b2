//! The container added to pods that ask for it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Resources, yes};

/// The container added to pods annotated with `veneur.dev/inject`. A change reaches a pod when it is created anew, unless
/// a field says otherwise.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.transport == 'UDS' || self.ports.size() > 0")
    .message("sidecar.ports needs at least one port, unless sidecar.transport is UDS"))]
pub struct Sidecar {
    /// Whether pods get sidecars. Default true. Turned off, pods that have one keep it until they are created anew.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How a pod's own points (counters, gauges, minima, maxima and counts) leave it. `ViaGlobal`: through proxies and
    /// globals, so that no pod holds a key. `Direct`: the sidecar posts them to the sinks itself, as the original does, and
    /// the Secrets of `sinks` must exist in each application's namespace. Default `ViaGlobal`.
    #[serde(default)]
    pub delivery: Delivery,
    /// `Native`: an init container that restarts, which starts before the application, stops after it, and lets Jobs end.
    /// `Classic`: an ordinary container, for kubelets before 1.29 and for what cannot read native ones; Jobs are left out
    /// then. `Auto`: what every kubelet of a supported version can, which is `Native`. Default `Native`. A pod may ask
    /// otherwise by the annotation `veneur.dev/mode`.
    #[serde(default)]
    pub mode: SidecarMode,
    /// What the application sends over: `UDP` on `ports`, `UDS` (a Unix datagram socket at `uds.path`, where nothing is
    /// dropped unseen), or both. Default `UDPAndUDS`.
    #[serde(default)]
    pub transport: Transport,
    /// UDP ports on the pod's loopback address, 1024 to 65535, at most 4; the last is what applications are told. Default
    /// `[8126, 8125]`: Veneur's port, and every DogStatsD client's default.
    #[serde(default = "Sidecar::default_ports")]
    #[schemars(length(max = 4), inner(range(min = 1024, max = 65535)))]
    #[x_kube(merge_strategy = ListMerge::Set,
        validation = Rule::new("!(8127 in self)").message("sidecar.ports cannot hold 8127: the sidecar's admin port is there"))]
    pub ports: Vec<i32>,
    /// The Unix socket.
    #[serde(default)]
    pub uds: Uds,
    /// Which variables tell the application where to send.
    #[serde(default)]
    pub env: SidecarEnv,
    /// Resources of the sidecar. Default: requests of 10m CPU and 32Mi memory, a limit of 64Mi memory. What is given
    /// replaces the default whole. A CPU limit throttles, and a throttled sidecar drops datagrams. Without requests an
    /// autoscaler of the application has nothing to go by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Give the sidecar limits equal to its requests where the pod would be `Guaranteed` without it, so that the pod stays
    /// so. Default true.
    #[serde(default = "yes", rename = "preserveQoS")]
    pub preserve_qos: bool,
    /// As whom the sidecar runs. It always meets the restricted Pod Security Standard.
    #[serde(default)]
    pub security_context: SidecarSecurity,
    /// Hold the application back until the sidecar listens. Default true. Only sockets are looked at, never proxies: a
    /// pipeline that is down holds nobody back.
    #[serde(default = "yes")]
    pub startup_probe: bool,
    /// Which annotations of a pod are heeded; at most 5. Others are told and ignored. Default: all, `[Resources, Tags,
    /// Transport, Containers, LogLevel]`.
    #[serde(default = "Override::all")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow_overrides: Vec<Override>,
    /// How sidecars take a new version.
    #[serde(default)]
    pub upgrade: SidecarUpgrade,
}

impl Sidecar {
    fn default_ports() -> Vec<i32> {
        vec![8126, 8125]
    }
}

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            enabled: true,
            delivery: Delivery::default(),
            mode: SidecarMode::default(),
            transport: Transport::default(),
            ports: Self::default_ports(),
            uds: Uds::default(),
            env: SidecarEnv::default(),
            resources: None,
            preserve_qos: true,
            security_context: SidecarSecurity::default(),
            startup_probe: true,
            allow_overrides: Override::all(),
            upgrade: SidecarUpgrade::default(),
        }
    }
}

/// How a pod's own points leave it.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum Delivery {
    #[default]
    ViaGlobal,
    Direct,
}

/// What kind of container the sidecar is.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum SidecarMode {
    #[default]
    Native,
    Classic,
    Auto,
}

/// What the application sends over.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum Transport {
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "UDS")]
    Uds,
    #[default]
    #[serde(rename = "UDPAndUDS")]
    UdpAndUds,
}

/// The Unix socket between application and sidecar.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Uds {
    /// Path of the socket, the same in both containers; its folder is a volume in memory. Default
    /// `/var/run/veneur/dsd.sock`.
    #[serde(default = "Uds::default_path")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new("self.matches('^(/[-a-zA-Z0-9_][-a-zA-Z0-9_.]*){2,}$')")
        .message("sidecar.uds.path is an absolute path with a folder of its own, as /var/run/veneur/dsd.sock"))]
    pub path: String,
}

impl Uds {
    fn default_path() -> String {
        "/var/run/veneur/dsd.sock".to_owned()
    }
}

impl Default for Uds {
    fn default() -> Self {
        Self { path: Self::default_path() }
    }
}

/// Which variables tell the application where to send. One that a container already has is never overwritten.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarEnv {
    /// `STATSD_ADDR`, as `127.0.0.1:8125`. Default true.
    #[serde(default = "yes")]
    pub statsd_addr: bool,
    /// `DD_AGENT_HOST`, `DD_DOGSTATSD_PORT` and `DD_DOGSTATSD_URL`, for Datadog's clients. Default true. Never
    /// `DD_ENTITY_ID`, which would make every series one of its pod's own.
    #[serde(default = "yes")]
    pub datadog: bool,
    /// Also in init containers that start after the sidecar. Default true. With `Classic` there are none.
    #[serde(default = "yes")]
    pub init_containers: bool,
}

impl Default for SidecarEnv {
    fn default() -> Self {
        Self { statsd_addr: true, datadog: true, init_containers: true }
    }
}

/// As whom the sidecar runs. Never as root, without capabilities, with a read-only file system.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSecurity {
    /// User id, above 0. Default: that of the image, 65532, or the one that the cluster gives to each namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_294_i64))]
    pub run_as_user: Option<i64>,
    /// Group id, above 0. Default: that of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_294_i64))]
    pub run_as_group: Option<i64>,
}

/// A group of annotations of a pod.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it; doc comments on variants would change the schema's shape")]
pub enum Override {
    Resources,
    Tags,
    Transport,
    Containers,
    LogLevel,
}

impl Override {
    /// Every one.
    pub fn all() -> Vec<Self> {
        vec![Self::Resources, Self::Tags, Self::Transport, Self::Containers, Self::LogLevel]
    }
}

/// How sidecars take a new version.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarUpgrade {
    /// `InPlace`: the image in running pods is exchanged, which restarts the sidecar and nothing else, once all globals and
    /// proxies have the new one. `OnRecreate`: a pod takes it when it is created anew. Default `InPlace`.
    #[serde(default)]
    pub image: ImageUpgrade,
    /// Pods of one workload whose sidecar is exchanged at a time, 1 to 100. Default 5.
    #[serde(default = "SidecarUpgrade::default_concurrent")]
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent: i32,
}

impl SidecarUpgrade {
    const fn default_concurrent() -> i32 {
        5
    }
}

impl Default for SidecarUpgrade {
    fn default() -> Self {
        Self { image: ImageUpgrade::default(), max_concurrent: Self::default_concurrent() }
    }
}

/// When a running pod's sidecar gets a new image.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the field says it; doc comments on variants would change the schema's shape")]
pub enum ImageUpgrade {
    #[default]
    InPlace,
    OnRecreate,
}
