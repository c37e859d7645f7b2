//! Cluster tests: what users see, on a real Kubernetes, through kubectl.
//!
//! `cargo xtask test` starts a cluster, installs the operator from its chart and runs these tests inside the cluster's
//! network namespace. They need `kubectl` and `helm` on the path and the images named by `VENEUR_IMAGE`, `VENEUR_SAMPLE_IMAGE`
//! and `VENEUR_INTAKE_IMAGE`; against another cluster, set these and `KUBECONFIG` by hand.

#![expect(clippy::panic, reason = "these are the helpers of tests: what is not as it should be ends one")]

mod kubectl;
mod namespace;
mod pipeline;
mod sample;

pub use kubectl::{Refusal, accepted, apply, apply_refused, get, helm, kubectl, raw};
pub use namespace::{Namespace, eventually};
pub use pipeline::{Fleet, condition, intake, is_ready, pipeline, secret};
pub use sample::{Batch, batches, manifest, sample_image, script};
