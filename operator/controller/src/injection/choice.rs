//! Which pipeline a pod asks for, and whether it may have it.

use std::collections::BTreeMap;

use veneur_operator_api::VeneurPipeline;

use super::{INJECT, Skip, SkipReason, admitted};

/// Label of a namespace whose pods are all meant, `enabled` or `strict`; `disabled` where none is.
pub const NAMESPACE_LABEL: &str = "veneur.dev/injection";
/// Annotation of a namespace: the pipeline of its pods.
pub const NAMESPACE_PIPELINE: &str = "veneur.dev/pipeline";

/// A pod's namespace, as far as injection reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The pipeline of its pods, where an annotation names one.
    pub pipeline: Option<String>,
}

impl Namespace {
    /// Whether all of its pods are meant that do not say otherwise.
    pub fn is_enabled(&self) -> bool {
        matches!(self.labels.get(NAMESPACE_LABEL).map(String::as_str), Some("enabled" | "strict"))
    }

    /// Whether none of its pods is seen by the webhook.
    pub fn is_disabled(&self) -> bool {
        self.labels.get(NAMESPACE_LABEL).is_some_and(|label| label == "disabled")
    }
}

/// What a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish<'a> {
    /// Whatever pipeline is meant for its namespace.
    Any,
    /// This one; `key` is the annotation that says so.
    Named { key: &'static str, name: &'a str },
}

impl<'a> Wish<'a> {
    /// What a pod with this annotation and this label asks for; `None` where it does not ask. One `false` is enough, as
    /// the API server then sends no pod here. Otherwise the pod's word goes before its namespace's, and its annotation
    /// before its label.
    pub(crate) fn of(annotation: Option<&'a str>, label: Option<&'a str>, namespace: &Namespace) -> Option<Self> {
        let (annotation, label) = (annotation.map(str::trim), label.map(str::trim));
        if [annotation, label].into_iter().flatten().any(|word| word.eq_ignore_ascii_case("false")) {
            return None;
        }
        match annotation.or(label) {
            Some(word) if word.eq_ignore_ascii_case("true") => Some(Self::Any),
            Some(name) => Some(Self::Named { key: INJECT, name }),
            None => namespace.is_enabled().then_some(Self::Any),
        }
    }
}

/// The pipeline that is meant, whether or not the namespace may use it.
///
/// `true` is what the namespace names, else its only pipeline, else the cluster's default. NAME is one of the pod's
/// namespace, NAMESPACE/NAME one of another. A bare NAME never reaches into another namespace: the pod would change its
/// pipeline when one of that name appears nearer.
pub(crate) fn resolve<'a>(
    wish: &Wish<'_>,
    namespace: &Namespace,
    pipelines: &[&'a VeneurPipeline],
) -> Result<&'a VeneurPipeline, Skip> {
    let (key, named) = match (wish, namespace.pipeline.as_deref()) {
        (Wish::Named { key, name }, _) => (*key, *name),
        (Wish::Any, Some(name)) => (NAMESPACE_PIPELINE, name.trim()),
        (Wish::Any, None) => return unnamed(namespace, pipelines),
    };
    let (wanted_namespace, wanted_name) = named.split_once('/').unwrap_or((&namespace.name, named));
    if !is_label(wanted_namespace) || !is_label(wanted_name) {
        let shown: String = named.chars().take(64).collect();
        let detail = match key {
            NAMESPACE_PIPELINE => format!("{key}={shown:?} of namespace {} is not NAMESPACE/NAME", namespace.name),
            _ => format!("{key}={shown:?} is none of true, false, NAME and NAMESPACE/NAME"),
        };
        return Err(SkipReason::InvalidAnnotation.because(detail));
    }
    let found = pipelines.iter().find(|pipeline| id(pipeline) == (wanted_namespace, wanted_name));
    found
        .copied()
        .ok_or_else(|| SkipReason::PipelineNotFound.because(not_found(wanted_namespace, wanted_name, pipelines)))
}

/// The same, and the namespace may use it.
pub(crate) fn choose<'a>(
    wish: &Wish<'_>,
    namespace: &Namespace,
    pipelines: &[&'a VeneurPipeline],
) -> Result<&'a VeneurPipeline, Skip> {
    let pipeline = resolve(wish, namespace, pipelines)?;
    admitted::admitted(pipeline, namespace).map(|()| pipeline)
}

fn unnamed<'a>(namespace: &Namespace, pipelines: &[&'a VeneurPipeline]) -> Result<&'a VeneurPipeline, Skip> {
    let mut own: Vec<&VeneurPipeline> =
        pipelines.iter().copied().filter(|pipeline| id(pipeline).0 == namespace.name).collect();
    match own.as_slice() {
        [pipeline] => Ok(pipeline),
        [] => default_of_cluster(namespace, pipelines),
        [_, _, ..] => {
            own.sort_by_key(|pipeline| id(pipeline));
            let names: Vec<&str> = own.iter().map(|pipeline| id(pipeline).1).collect();
            let detail = format!("namespace {} has {}: name one of them", namespace.name, names.join(", "));
            Err(SkipReason::AmbiguousPipeline.because(detail))
        }
    }
}

/// The oldest, where several are called the default: the younger are told so in their status.
fn default_of_cluster<'a>(namespace: &Namespace, pipelines: &[&'a VeneurPipeline]) -> Result<&'a VeneurPipeline, Skip> {
    cluster_default(pipelines).ok_or_else(|| {
        let example = pipelines.iter().map(|pipeline| id(pipeline)).min();
        let hint = example.map(|(namespace, name)| format!(": name one, as {INJECT}: {namespace}/{name}"));
        let detail = format!(
            "namespace {} has no pipeline, and none is the cluster's default{}",
            namespace.name,
            hint.unwrap_or_default()
        );
        SkipReason::NoPipeline.because(detail)
    })
}

/// The pipeline of pods whose namespace has none: of several that say so, the oldest.
pub(crate) fn cluster_default<'a>(pipelines: &[&'a VeneurPipeline]) -> Option<&'a VeneurPipeline> {
    let age = |pipeline: &&VeneurPipeline| {
        (pipeline.metadata.creation_timestamp.clone(), id(pipeline).0.to_owned(), id(pipeline).1.to_owned())
    };
    pipelines.iter().copied().filter(|pipeline| admitted::is_default(pipeline)).min_by_key(age)
}

/// A few typing errors apart, or the right name in another namespace, is near enough to be meant.
fn not_found(namespace: &str, name: &str, pipelines: &[&VeneurPipeline]) -> String {
    let wanted = format!("{namespace}/{name}");
    let nearest = pipelines
        .iter()
        .map(|pipeline| id(pipeline))
        .map(|(near_namespace, near_name)| {
            let whole = format!("{near_namespace}/{near_name}");
            let distance = if near_name == name { 1 } else { strsim::damerau_levenshtein(&wanted, &whole) };
            (distance, whole)
        })
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match nearest {
        Some((_, nearest)) => format!("{wanted}; did you mean {nearest}?"),
        None => format!("{wanted}; `kubectl get veneurpipelines -A` lists those that exist"),
    }
}

/// Namespace and name.
pub(crate) fn id(pipeline: &VeneurPipeline) -> (&str, &str) {
    let (namespace, name) = (&pipeline.metadata.namespace, &pipeline.metadata.name);
    (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
}

/// `NAMESPACE/NAME` of a pipeline, as annotations and counts name it.
pub(crate) fn path(pipeline: &VeneurPipeline) -> String {
    let (namespace, name) = id(pipeline);
    format!("{namespace}/{name}")
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}
