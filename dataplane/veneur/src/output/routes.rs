//! Which sinks a point goes to.

use veneur_aggregate::NameRule;
use veneur_config::SinkRoute;
use veneur_metric::Point;

use crate::settings::name_rule;

/// Routes, the first that matches first.
#[derive(Debug, Default)]
pub(crate) struct Routes(Vec<Route>);

#[derive(Debug)]
struct Route {
    name: NameRule,
    tags: Vec<String>,
    /// Places in the list of sinks.
    sinks: Vec<usize>,
}

impl Routes {
    /// Routes to the sinks of these names. One that names a sink which is not there, as it needs a restart, leaves it out;
    /// one that is left with none sends to all.
    pub(crate) fn new(routes: &[SinkRoute], sinks: &[&str]) -> Self {
        let place = |name: &String| sinks.iter().position(|sink| sink == name);
        let route = |route: &SinkRoute| Route {
            name: name_rule(&route.name),
            tags: route.tags.clone(),
            sinks: route.sinks.iter().filter_map(place).collect(),
        };
        Self(routes.iter().map(route).collect())
    }

    /// Whether every sink gets every point.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What each of `sinks` sinks gets of `points`, in order.
    pub(crate) fn share(&self, points: &[Point], sinks: usize) -> Vec<Vec<Point>> {
        let mut shares = vec![Vec::new(); sinks];
        for point in points {
            match self.0.iter().find(|route| route.matches(point)) {
                Some(route) if !route.sinks.is_empty() => {
                    route.sinks.iter().for_each(|place| shares[*place].push(point.clone()));
                }
                _ => shares.iter_mut().for_each(|share| share.push(point.clone())),
            }
        }
        shares
    }
}

impl Route {
    fn matches(&self, point: &Point) -> bool {
        self.name.matches(&point.name) && self.tags.iter().all(|wanted| point.tags.iter().any(|tag| tag == wanted))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use veneur_config::NameMatch;
    use veneur_metric::{PointKind, Tags};

    use super::*;

    fn point(name: &str, tags: &[&str]) -> Point {
        Point {
            name: name.into(),
            tags: Tags::new(tags.iter().copied()),
            kind: PointKind::Gauge,
            value: 1.0,
            timestamp: 0,
            interval: Duration::from_secs(10),
        }
    }

    fn route(name: NameMatch, tags: &[&str], sinks: &[&str]) -> SinkRoute {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        SinkRoute { name, tags: own(tags), sinks: own(sinks) }
    }

    #[test]
    fn the_first_route_that_matches_decides_and_what_none_matches_goes_to_all() {
        let routes = [
            route(NameMatch::Prefix("bill.".into()), &["env:prod"], &["b"]),
            route(NameMatch::Exact("bill.total".into()), &[], &["c", "a"]),
            route(NameMatch::Any, &["env:dev", "team:x"], &["gone"]),
        ];
        let routes = Routes::new(&routes, &["a", "b", "c"]);
        let points = [
            point("bill.total", &["env:prod", "x:y"]),
            point("bill.total", &["env:production"]),
            point("bill.totals", &[]),
            point("api", &["team:x", "env:dev"]),
        ];
        let shares = routes.share(&points, 3);
        let [p0, p1, p2, p3] = points;
        assert_eq!(shares[0], [p1.clone(), p2.clone(), p3.clone()]);
        assert_eq!(shares[1], [p0, p2.clone(), p3.clone()]);
        assert_eq!(shares[2], [p1, p2, p3]);
    }
}
