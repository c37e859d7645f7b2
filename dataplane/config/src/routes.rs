//! Which sinks a metric goes to.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Invalid, NameMatch, Sink,
    key::{Field, Report, Shape, leaf},
};

/// The first route that matches a point decides which sinks get it; a point that none matches goes to all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkRoute {
    /// Which names, as they are published, with their statistic.
    pub name: NameMatch,
    /// Tags that it has, each whole; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Names of the sinks that get it.
    pub sinks: Vec<String>,
}

impl Field for SinkRoute {
    const SHAPE: Shape = Shape::Map;

    fn read(value: Value, path: &str, report: &mut Report) -> Option<Self> {
        let allowed = "a route such as {name: {kind: prefix, value: billing.}, tags: ['env:prod'], sinks: [datadog]}, with \
                       kind any, exact or prefix";
        leaf(value, path, report, allowed)
    }
}

pub(crate) fn problems(routes: &[SinkRoute], sinks: &[Sink]) -> Vec<Invalid> {
    let mut problems = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let key = format!("sink_routes[{index}].sinks");
        if route.sinks.is_empty() {
            problems.push(Invalid::new(&key, "is empty: name the sinks that get it"));
        }
        for name in route.sinks.iter().filter(|name| !sinks.iter().any(|sink| sink.name == **name)) {
            problems.push(Invalid::new(&key, format!("{name:?} is not the name of an entry of metric_sinks")));
        }
    }
    problems
}
