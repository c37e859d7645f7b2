//! Objects reach the API server: server-side apply, the whole desired object each time, one field manager.
//!
//! What is there already is not applied again: a look at what was last seen decides, so that a restart with everything in
//! place sends no write at all. A field that another manager owns is taken over: the pipeline is where these objects are
//! changed. An object that is not the pipeline's is never taken over: then nothing is written.
//!
//! Order: what others refer to, then globals, proxies and agents of nodes, each only when the tiers that it sends to are
//! rolled out in their new revision; orphans last.

mod compare;
mod contest;
mod error;
mod handover;
mod object;
mod orphans;

use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::Value;
use veneur_operator_api::{GROUP, VeneurPipeline};

use super::{build::Resources, observe::complete};
use crate::{
    feeds::Key,
    kind::Kind,
    labels::FIELD_MANAGER,
    live::{Knowledge, Live},
    telemetry::Telemetry,
};

pub use contest::Contests;
pub use error::{ApplyError, Permission, words};
pub use object::Object;
#[cfg(test)]
pub(super) use object::counted_alike;
pub(super) use object::revision_of;

/// Whose objects are applied, and with what.
#[derive(Clone)]
pub struct Applier {
    /// Client of the API server.
    pub client: Client,
    /// Everything, as last seen.
    pub live: Arc<Live>,
    /// Objects that somebody else keeps changing.
    pub contests: Arc<Contests>,
    /// Counts what is written.
    pub telemetry: Telemetry,
    /// Generation of the spec that is applied, for the log.
    pub generation: Option<i64>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Applier")
    }
}

/// A tier's Deployment; for the agents of nodes one with the counts of their `DaemonSet`.
#[derive(Debug, Clone, Default)]
pub enum Sight {
    /// The spec wants none.
    #[default]
    Disabled,
    /// The spec wants one, and none was seen.
    Unknown,
    /// As it is.
    There(Box<Deployment>),
}

/// What there is after an apply.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The proxies.
    pub proxy: Sight,
    /// The globals.
    pub global: Sight,
    /// The agents of nodes.
    pub node: Sight,
    /// What was written or removed, as `applied Deployment default-proxy`.
    pub written: Vec<String>,
    /// Where nothing may be written: what would have been.
    pub held: Vec<String>,
    /// The tier that waits, and for what.
    pub waits: Option<String>,
    /// Objects that somebody else keeps changing.
    pub contested: Vec<String>,
    /// Objects that the spec needs, of a kind that this cluster has not or does not grant.
    pub lacking: Vec<Lacking>,
}

/// An object of a kind that is not there for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The object, as `Certificate default-tls`.
    pub object: String,
    /// What the API server refuses; none where it knows no such kind.
    pub refused: Option<String>,
}

impl std::fmt::Display for Lacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { object, refused } = self;
        match refused {
            None => write!(f, "{object} is not applied, as this cluster has no such kind: install cert-manager")?,
            Some(why) => {
                let why = Permission::missing_in(why).map_or_else(|| why.clone(), |permission| permission.to_string());
                write!(f, "{object} is not applied: {why}")?;
            }
        }
        f.write_str("; the chart grants it with rbac.certManager; or set tls.mode to SelfSigned or Disabled")
    }
}

/// Whether anything may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Yes.
    Managed,
    /// No: only look.
    Paused,
}

/// An object as it should be and as it is.
struct Look<'a> {
    desired: &'a Object,
    live: Option<Value>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    /// Another spec has made it.
    Outdated,
    /// This spec has made it, and somebody has changed it.
    Drifted,
    Same,
}

impl Applier {
    /// Applies every object of the pipeline, or none where the name of one is taken.
    pub async fn apply(&self, pipeline: &Key, resources: &Resources, mode: Mode) -> Result<Applied, ApplyError> {
        let objects = Object::all_of(resources);
        // A kind that this cluster has not is nothing to apply, and nothing to ask for.
        let (absent, present): (Vec<_>, Vec<_>) =
            objects.iter().partition(|object| object.kind.is_optional() && self.live.is_absent(object.kind));
        let looks = try_join_all(present.into_iter().map(|object| self.look(pipeline, object))).await?;
        let lacking = absent.into_iter().filter(|object| !object.kind.is_dispensable());
        let mut applied =
            Applied { lacking: lacking.map(|object| self.lacking(object)).collect(), ..Applied::default() };
        if mode == Mode::Paused {
            applied.held.extend(applied.lacking.iter().map(|lacking| lacking.object.clone()));
            for look in &looks {
                if look.state != State::Same {
                    applied.held.push(look.desired.to_string());
                }
            }
            let orphans = orphans::of(&self.live, pipeline, &objects);
            applied.held.extend(orphans.iter().map(|(kind, orphan)| format!("{} {}", kind.as_str(), orphan.name)));
            for look in looks {
                applied.keep(look.desired, look.live.as_ref());
            }
            return Ok(applied);
        }
        // An autoscaler that is wanted no more must not see the replicas that the spec wants now.
        self.remove_orphans(pipeline, &objects, orphans::When::BeforeApplying, &mut applied).await?;
        for look in looks {
            if let Some(why) = applied.must_wait(&look) {
                applied.waits.get_or_insert(why);
                applied.keep(look.desired, look.live.as_ref());
                continue;
            }
            let now = self.bring(pipeline, &look, &objects, &mut applied).await?;
            applied.keep(look.desired, now.as_ref());
        }
        self.remove_orphans(pipeline, &objects, orphans::When::AfterApplying, &mut applied).await?;
        Ok(applied)
    }

    /// The tiers as they were seen, where nothing can be applied.
    pub fn seen(&self, pipeline: &Key, resources: &Resources) -> Applied {
        let mut applied = Applied::default();
        for object in Object::all_of(resources) {
            let seen = self.live.get(object.kind, pipeline, &object.name);
            applied.keep(&object, seen.map(|seen| seen.json()).as_ref());
        }
        applied
    }

    /// Finds the object, in what was seen or else with the API server. By name, not by uid: what is left of a pipeline
    /// that was deleted and created anew is taken over.
    async fn look<'a>(&self, pipeline: &Key, desired: &'a Object) -> Result<Look<'a>, ApplyError> {
        let live = if let Some(seen) = self.live.get(desired.kind, pipeline, &desired.name) {
            Some(seen.json())
        } else {
            let found = self.api(desired).get_opt(&desired.name).await;
            found.map_err(|source| ApplyError::refused("get", desired, source))?.map(|found| value(&found))
        };
        let Some(there) = &live else { return Ok(Look { desired, live, state: State::Missing }) };
        if !is_controlled_by(there, &pipeline.name) {
            return Err(ApplyError::NameTaken { kind: desired.kind.as_str().to_owned(), name: desired.name.clone() });
        }
        let state = if there.pointer(object::APPLIED_POINTER).and_then(Value::as_str) != Some(desired.hash.as_str()) {
            State::Outdated
        } else if compare::contains(there, &desired.json) || self.contests.is_settled(desired, there) {
            State::Same
        } else {
            State::Drifted
        };
        Ok(Look { desired, live, state })
    }

    /// Applies the object if it is not as it should be; returns it as it is now.
    async fn bring(
        &self,
        pipeline: &Key,
        look: &Look<'_>,
        objects: &[Object],
        applied: &mut Applied,
    ) -> Result<Option<Value>, ApplyError> {
        let Look { desired, live, state } = look;
        if *state == State::Same {
            return Ok(live.clone());
        }
        if *state == State::Drifted && !self.contests.may_correct(desired) {
            applied.contested.push(desired.to_string());
            return Ok(live.clone());
        }
        if desired.kind == Kind::Deployment {
            self.hand_over(desired, live.as_ref()).await?;
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let answer = self.api(desired).patch(&desired.name, &params, &Patch::Apply(&desired.json)).await;
        if let Err(kube::Error::Api(status)) = &answer
            && status.code == 404
            && desired.kind.is_optional()
        {
            if !desired.kind.is_dispensable() {
                applied.lacking.push(self.lacking(desired));
            }
            return Ok(None);
        }
        let mut now = value(&answer.map_err(|source| ApplyError::refused("apply", desired, source))?);
        if desired.kind == Kind::Deployment
            && live.is_none()
            && let Some(least) = object::least_replicas(objects, desired)
        {
            now = self.set_replicas(desired, least).await?;
        }
        self.live.wrote(desired.kind, &now);
        self.contests.settle(desired, &now);
        let how = match state {
            State::Missing => "created",
            State::Outdated => "changed",
            State::Drifted | State::Same => "corrected",
        };
        tracing::info!(%pipeline, generation = self.generation, object = %desired, action = how, "Object written");
        self.telemetry.object_written(how);
        applied.written.push(format!("{how} {desired}"));
        Ok(Some(now))
    }

    fn lacking(&self, object: &Object) -> Lacking {
        let refused = match self.live.knowledge(object.kind) {
            Knowledge::Refused(why) => Some(why),
            Knowledge::Pending | Knowledge::Listed | Knowledge::NotInstalled => None,
        };
        Lacking { object: object.to_string(), refused }
    }

    fn api(&self, object: &Object) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &object.namespace, &object.kind.resource())
    }
}

impl Applied {
    /// Remembers the tiers.
    fn keep(&mut self, desired: &Object, now: Option<&Value>) {
        let deployment = match desired.kind {
            Kind::Deployment => now.and_then(|now| serde_json::from_value(now.clone()).ok()),
            Kind::DaemonSet => now.and_then(|now| serde_json::from_value(now.clone()).ok()).map(object::counted_alike),
            _ => return,
        };
        let deployment = deployment.map_or(Sight::Unknown, |deployment| Sight::There(Box::new(deployment)));
        match desired.role() {
            Some("global") => self.global = deployment,
            Some("proxy") => self.proxy = deployment,
            Some("node") => self.node = deployment,
            _ => {}
        }
    }

    /// Why a tier's new revision has to wait: a tier before it is not rolled out. A tier that is new, or whose pods stay as
    /// they are, waits for nothing.
    fn must_wait(&self, look: &Look<'_>) -> Option<String> {
        let Look { desired, live, .. } = look;
        let (who, before) = match desired.role()? {
            "proxy" if desired.kind == Kind::Deployment => ("proxies wait", &[("globals", &self.global)][..]),
            "node" if desired.kind == Kind::DaemonSet => {
                ("agents of nodes wait", &[("globals", &self.global), ("proxies", &self.proxy)][..])
            }
            _ => return None,
        };
        let running = live.as_ref()?.pointer(object::REVISION_POINTER).and_then(Value::as_str)?;
        if Some(running) == desired.revision.as_deref() {
            return None;
        }
        let (tier, deployment) = before.iter().find_map(|(tier, sight)| match sight {
            Sight::There(deployment) if !complete(deployment) => Some((tier, deployment)),
            _ => None,
        })?;
        let status = deployment.status.as_ref();
        Some(format!(
            "{who} until the {tier}' new revision is rolled out: {} of {} are updated and available",
            status
                .and_then(|status| status.updated_replicas)
                .unwrap_or(0)
                .min(status.and_then(|status| status.available_replicas).unwrap_or(0)),
            deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        ))
    }
}

fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("it came as JSON")
}

fn is_controlled_by(object: &Value, pipeline: &str) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| {
        owner["controller"] == true
            && owner["kind"] == <VeneurPipeline as kube::Resource>::kind(&()).as_ref()
            && owner["apiVersion"].as_str().and_then(|version| version.split('/').next()) == Some(GROUP)
            && owner["name"] == pipeline
    })
}

#[cfg(test)]
mod tests;
