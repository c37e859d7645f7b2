//! Counting: from records, pipelines and namespaces to numbers and lists.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use veneur_operator_api::VeneurPipeline;

use super::{
    failing::Failing,
    record::{Record, Records, State},
};
use crate::{
    context::Defaults,
    injection::{Current, Wish, choose, current, path, resolve, rolled_out},
    namespaces::Namespaces,
};

/// Workloads named in a pipeline's counts.
const MOST_NAMED: usize = 10;
/// Pods of one workload listed for eviction or upgrade at a time; the next ones follow when these are done.
const MOST_LISTED: usize = 100;
/// Reason of pods whose namespace keeps them from the webhook.
const NAMESPACE_DISABLED: &str = "NamespaceDisabled";

/// What became of all pods that asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether all pods were seen at least once.
    pub listed: bool,
    /// By pipeline, `NAMESPACE/NAME`; absent where none asked for it.
    pub pipelines: BTreeMap<String, Counts>,
    /// Pods that asked for no pipeline that exists or admits them, by reason.
    pub unresolved: BTreeMap<String, u32>,
    /// Pods that the webhook has not seen, some of them, in the order of their workloads.
    pub missed: Vec<Missed>,
    /// Pods whose sidecar has another image than their pipeline's, or has been given it and was not seen to run, some of
    /// them, in the order of their workloads.
    pub outdated: Vec<Outdated>,
}

/// What became of the pods of one pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods that are to take part: `injected` and `missed`.
    pub wanted: u32,
    /// Those that do.
    pub injected: u32,
    /// Those of them that are not as they would be if they were made now.
    pub outdated: u32,
    /// Pods that asked and were not seen by the webhook.
    pub missed: u32,
    /// Those whose sidecar does not run.
    pub failing: Failing,
    /// Pods that were told why they take no part, by reason.
    pub skipped: BTreeMap<String, u32>,
    /// Workloads with outdated pods, `NAMESPACE/KIND/NAME`; at most ten.
    pub outdated_workloads: Vec<String>,
    /// Workloads with missed pods, `NAMESPACE/KIND/NAME`; at most ten.
    pub missed_workloads: Vec<String>,
}

/// A pod that the webhook has not seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missed {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// `KIND/NAME` of what made it.
    pub workload: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// Whether a controller makes it anew.
    pub owned: bool,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// The pipeline, `NAMESPACE/NAME`.
    pub pipeline: String,
}

/// A pod whose sidecar has another image than its pipeline's, or has been given it and was not seen to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outdated {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// `KIND/NAME` of what made it.
    pub workload: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// The pipeline, `NAMESPACE/NAME`.
    pub pipeline: String,
    /// The image of its sidecar.
    pub image: Arc<str>,
    /// The image it should have.
    pub wanted: String,
}

/// What pods of a pipeline get now depends on: uid, generation, and the image that the tiers run.
type Basis = (Option<String>, Option<i64>, Option<String>);

/// Counts, and remembers what is costly to find out.
#[derive(Debug)]
pub(super) struct Counter {
    defaults: Defaults,
    /// What pods of a pipeline get now; none where its spec is not accepted.
    current: HashMap<String, (Basis, Option<Current>)>,
}

impl Counter {
    pub(super) fn new(defaults: Defaults) -> Self {
        Self { defaults, current: HashMap::new() }
    }

    pub(super) fn count(
        &mut self,
        records: &Records,
        namespaces: &Namespaces,
        pipelines: &[&VeneurPipeline],
    ) -> Snapshot {
        self.refresh(pipelines);
        let mut snapshot = Snapshot { listed: true, ..Snapshot::default() };
        let mut workloads: HashMap<String, [BTreeSet<String>; 2]> = HashMap::new();
        for record in records.iter() {
            let mut name_workload = |pipeline: &str, which: usize| {
                let named = &mut workloads.entry(pipeline.to_owned()).or_default()[which];
                named.insert(format!("{}/{}", record.namespace, record.workload));
                if named.len() > MOST_NAMED {
                    named.pop_last();
                }
            };
            match &record.state {
                State::Injected { pipeline, revision, image, env_only, unsettled } => {
                    let counts = snapshot.pipelines.entry(pipeline.to_string()).or_default();
                    counts.wanted += 1;
                    counts.injected += 1;
                    let Some((_, Some(now))) = self.current.get(&**pipeline) else { continue };
                    let wanted = if *env_only { &now.env_only_revision } else { &now.revision };
                    let stale = image.as_ref().filter(|image| ***image != *now.image || *unsettled);
                    if **revision == **wanted && stale.is_none() {
                        continue;
                    }
                    counts.outdated += 1;
                    name_workload(pipeline, 0);
                    snapshot.outdated.extend(stale.map(|image| outdated(record, pipeline, image, &now.image)));
                }
                State::Skipped { reason, wish } => {
                    let meant = meant(record, wish.as_deref(), namespaces, pipelines, false);
                    let counts = match &meant {
                        Ok(pipeline) => &mut snapshot.pipelines.entry(pipeline.clone()).or_default().skipped,
                        Err(_) => &mut snapshot.unresolved,
                    };
                    *counts.entry(reason.to_string()).or_default() += 1;
                }
                State::Unseen { wish } => match meant(record, wish.as_deref(), namespaces, pipelines, true) {
                    Ok(pipeline) if namespaces.known(&record.namespace).is_some_and(|seen| seen.is_disabled()) => {
                        let counts = snapshot.pipelines.entry(pipeline).or_default();
                        *counts.skipped.entry(NAMESPACE_DISABLED.to_owned()).or_default() += 1;
                    }
                    Ok(pipeline) => {
                        let counts = snapshot.pipelines.entry(pipeline.clone()).or_default();
                        counts.wanted += 1;
                        counts.missed += 1;
                        name_workload(&pipeline, 1);
                        snapshot.missed.push(missed(record, pipeline));
                    }
                    Err(reason) => *snapshot.unresolved.entry(reason).or_default() += 1,
                },
            }
        }
        for (pipeline, [outdated, missed]) in workloads {
            let counts = snapshot.pipelines.entry(pipeline).or_default();
            counts.outdated_workloads = outdated.into_iter().collect();
            counts.missed_workloads = missed.into_iter().collect();
        }
        shorten(&mut snapshot.missed, |pod| (Arc::clone(&pod.namespace), Arc::clone(&pod.workload)));
        shorten(&mut snapshot.outdated, |pod| (Arc::clone(&pod.namespace), Arc::clone(&pod.workload)));
        snapshot
    }

    fn refresh(&mut self, pipelines: &[&VeneurPipeline]) {
        let mut before = std::mem::take(&mut self.current);
        for pipeline in pipelines {
            let key = path(pipeline);
            let image = rolled_out(pipeline).map(str::to_owned);
            let basis = (pipeline.metadata.uid.clone(), pipeline.metadata.generation, image);
            let known = before.remove(&key).filter(|(of, _)| *of == basis);
            let known = known.unwrap_or_else(|| (basis, current(pipeline, &self.defaults).ok()));
            self.current.insert(key, known);
        }
    }
}

/// The pipeline that a pod asks for; the reason, where there is none. `admitted`: and that its namespace may use.
fn meant(
    record: &Record,
    wish: Option<&str>,
    namespaces: &Namespaces,
    pipelines: &[&VeneurPipeline],
    admitted: bool,
) -> Result<String, String> {
    let namespace = namespaces.known(&record.namespace).unwrap_or_default();
    let wish = Wish::of(wish, None, &namespace).unwrap_or(Wish::Any);
    let found = if admitted { choose(&wish, &namespace, pipelines) } else { resolve(&wish, &namespace, pipelines) };
    found.map(path).map_err(|skip| format!("{:?}", skip.reason))
}

fn missed(record: &Record, pipeline: String) -> Missed {
    Missed {
        namespace: Arc::clone(&record.namespace),
        workload: Arc::clone(&record.workload),
        name: record.name.clone(),
        owned: record.owned,
        created: record.created,
        pipeline,
    }
}

fn outdated(record: &Record, pipeline: &str, image: &Arc<str>, wanted: &str) -> Outdated {
    Outdated {
        namespace: Arc::clone(&record.namespace),
        workload: Arc::clone(&record.workload),
        name: record.name.clone(),
        pipeline: pipeline.to_owned(),
        image: Arc::clone(image),
        wanted: wanted.to_owned(),
    }
}

/// Sorts by workload and keeps some of each, so that no workload hides another.
fn shorten<T: Ord>(list: &mut Vec<T>, workload: impl Fn(&T) -> (Arc<str>, Arc<str>)) {
    list.sort_unstable();
    let (mut of, mut count) = (None, 0);
    list.retain(|pod| {
        let this = Some(workload(pod));
        count = if of == this { count + 1 } else { 1 };
        of = this;
        count <= MOST_LISTED
    });
    list.shrink_to_fit();
}
