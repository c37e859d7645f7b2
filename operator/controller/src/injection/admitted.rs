//! Which namespaces a pipeline admits.

use veneur_operator_api::VeneurPipeline;

use super::{Skip, choice::Namespace};

/// Whether pods of the namespace may use the pipeline.
pub(super) fn admitted(_pipeline: &VeneurPipeline, _namespace: &Namespace) -> Result<(), Skip> {
    Ok(())
}

/// Whether the pipeline is meant for pods whose namespace has none.
pub(super) fn is_default(_pipeline: &VeneurPipeline) -> bool {
    false
}
