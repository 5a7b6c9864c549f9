//! Steps in words: what was found is told here, and decided elsewhere.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::{
    Kind, Step,
    dump::{Route, RouteConfig, VirtualHost},
    endpoint::{Endpoint, Health},
    gather::RefusedListener,
    route::{self, Does},
};

pub(super) fn endpoints_step(name: &str, all: &[Endpoint], called: usize, panics: bool) -> Step {
    let well = all.iter().filter(|one| one.is_called()).count();
    let what = match (all.len(), well) {
        (0, _) => "nobody is there".to_owned(),
        (1, 1) => "one, and it is healthy".to_owned(),
        (count, well) if count == well => format!("{count}, all healthy"),
        (count, well) => format!("{well} of {count} healthy"),
    };
    let facts: Vec<_> = all.iter().take(MOST_TOLD).map(Endpoint::json).collect();
    let mut step = Step::new(Kind::Endpoints, what)
        .facts(json!({ "cluster": name, "count": all.len(), "healthy": well, "endpoints": facts }));
    // Those who do not answer are what somebody looks for.
    let mut shown: Vec<&Endpoint> = all.iter().collect();
    shown.sort_by_key(|one| (one.priority, one.health == Health::Well && well < all.len()));
    for one in shown.iter().take(MOST_SHOWN) {
        step = step.and(one.line());
    }
    if all.len() > MOST_SHOWN {
        step = step.and(format!("and {} more: --json", all.len() - MOST_SHOWN));
    }
    match (all.len(), well, called) {
        (0, ..) => {
            step.breaks("Envoy answers 503: the cluster has no endpoint", "hawser xds show eds")
        }
        (_, 0, 0) => {
            step.breaks("Envoy answers 503: no endpoint is healthy", "hawser xds show eds")
        }
        (_, 0, _) if panics => step
            .breaks("no endpoint is healthy; Envoy calls them all the same", "hawser xds show eds"),
        _ => step,
    }
}

pub(super) fn route_line(route: &Route) -> String {
    let name =
        if route.name.is_empty() { "a route".to_owned() } else { format!("route {}", route.name) };
    format!("{name}, for {}", route::condition(&route.r#match))
}

pub(super) fn facts(config: &RouteConfig, host: &VirtualHost, route: Option<&Route>) -> Value {
    let clusters = route.map(route::does).map(|does| match does {
        Does::Sends(clusters) => clusters.into_iter().map(|one| one.name).collect(),
        _ => Vec::new(),
    });
    json!({
        "routes": config.name,
        "virtual_host": host.name,
        "route": route.map(|route| route.name.clone()),
        "match": route.map(|route| route::condition(&route.r#match)),
        "clusters": clusters.unwrap_or_default(),
    })
}

pub(super) fn refusal(step: Step, one: &RefusedListener) -> Step {
    step.and(format!("Envoy refused {}: {}", one.name, one.details))
        .breaks("Envoy has refused the listener for it", "hawser status")
}

/// Whether a listener that is not there would be for this place, by the names that istiod gives.
pub(super) fn mentions(name: &str, to: SocketAddr) -> bool {
    name == format!("{}_{}", to.ip(), to.port()) || name == format!("0.0.0.0_{}", to.port())
}

pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    }
}

const MOST_SHOWN: usize = 6;
const MOST_TOLD: usize = 256;
