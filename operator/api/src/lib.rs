//! The VeneurPipeline resource: spec, status, validation.
