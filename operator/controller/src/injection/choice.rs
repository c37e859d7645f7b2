//! Which pipeline a pod asks for.

use veneur_operator_api::VeneurPipeline;

use super::{INJECT, Skip, SkipReason, pod::Pod};

/// The pipeline a pod asks for; `None` where it does not ask.
///
/// `true` is the only pipeline of the pod's namespace, NAME one of its namespace, NAMESPACE/NAME one of another. A bare
/// NAME never reaches into another namespace: the pod would change its pipeline when one of that name appears nearer.
pub(super) fn choose<'a>(
    pod: &Pod<'_>,
    namespace: &str,
    pipelines: &[&'a VeneurPipeline],
) -> Result<Option<&'a VeneurPipeline>, Skip> {
    let Some(wish) = pod.annotation(INJECT).or_else(|| pod.label(INJECT)).map(str::trim) else {
        return Ok(None);
    };
    if wish.eq_ignore_ascii_case("false") {
        return Ok(None);
    }
    if wish.eq_ignore_ascii_case("true") {
        return only_one(namespace, pipelines).map(Some);
    }
    let (wanted_namespace, wanted_name) = wish.split_once('/').unwrap_or((namespace, wish));
    if !is_label(wanted_namespace) || !is_label(wanted_name) {
        let detail = format!("{INJECT}={wish:?} is none of true, false, NAME and NAMESPACE/NAME");
        return Err(SkipReason::InvalidAnnotation.because(detail));
    }
    let found = pipelines.iter().find(|pipeline| id(pipeline) == (wanted_namespace, wanted_name));
    match found {
        Some(pipeline) => Ok(Some(pipeline)),
        None => Err(SkipReason::PipelineNotFound.because(not_found(wanted_namespace, wanted_name, pipelines))),
    }
}

fn only_one<'a>(namespace: &str, pipelines: &[&'a VeneurPipeline]) -> Result<&'a VeneurPipeline, Skip> {
    let mut own: Vec<&VeneurPipeline> =
        pipelines.iter().copied().filter(|pipeline| id(pipeline).0 == namespace).collect();
    match own.as_slice() {
        [pipeline] => Ok(pipeline),
        [] => {
            let example = pipelines.iter().map(|pipeline| id(pipeline)).min();
            let hint = example.map(|(namespace, name)| format!(": name one, as {INJECT}: {namespace}/{name}"));
            let detail = format!("namespace {namespace} has no pipeline{}", hint.unwrap_or_default());
            Err(SkipReason::NoPipeline.because(detail))
        }
        [_, _, ..] => {
            own.sort_by_key(|pipeline| id(pipeline));
            let names: Vec<&str> = own.iter().map(|pipeline| id(pipeline).1).collect();
            let detail = format!("namespace {namespace} has {}: name one of them", names.join(", "));
            Err(SkipReason::AmbiguousPipeline.because(detail))
        }
    }
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

fn id(pipeline: &VeneurPipeline) -> (&str, &str) {
    let (namespace, name) = (&pipeline.metadata.namespace, &pipeline.metadata.name);
    (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}
