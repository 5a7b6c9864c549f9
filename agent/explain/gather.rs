//! What is asked of Envoy's admin interface: one thing at a time, by name where Envoy can look for
//! a name, and no more of the answer is kept than was asked for.

use hawser_envoy::{Error, admin::Admin};
use serde::de::DeserializeOwned;

use super::dump::{
    self, Assignment, Cluster, ClusterDump, ClusterStatus, EndpointDump, Listener, ListenerDump,
    Listening, RouteConfig, RouteDump,
};

/// Somebody who answers as Envoy's admin interface does.
pub(crate) trait Answers {
    /// Those elements of a list in an answer that are wanted.
    async fn lists<T: DeserializeOwned + Send + 'static>(
        &self,
        path: String,
        list: &'static str,
        wanted: impl Fn(&T) -> bool + Send + 'static,
    ) -> Result<Vec<T>, Error>;
}

impl Answers for Admin {
    async fn lists<T: DeserializeOwned + Send + 'static>(
        &self,
        path: String,
        list: &'static str,
        wanted: impl Fn(&T) -> bool + Send + 'static,
    ) -> Result<Vec<T>, Error> {
        let read = move |from: &mut dyn std::io::Read| {
            let mut found = Vec::new();
            let mut keep = |one: T| {
                if found.len() < MOST && wanted(&one) {
                    found.push(one);
                }
            };
            dump::each(from, list, &mut keep).map(|()| found)
        };
        match self.read(&path, read).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_not_json)) => {
                let expected = "its configuration as JSON";
                Err(Error::Answer { address: self.address(), path, expected })
            }
            // As long as it has none of a kind, Envoy does not know the kind.
            Err(Error::Status { status: 404, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// A listener that Envoy has refused, or the newest of it.
#[derive(Debug, Clone)]
pub(crate) struct RefusedListener {
    pub(crate) name: String,
    pub(crate) details: String,
}

/// A cluster, and whether it takes requests already.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Active(Box<Cluster>),
    Warming,
    Missing,
}

/// Where Envoy listens.
pub(crate) async fn listening(envoy: &impl Answers) -> Result<Vec<Listening>, Error> {
    envoy.lists("/listeners?format=json".to_owned(), "listener_statuses", |_| true).await
}

/// A listener by its name.
pub(crate) async fn listener(envoy: &impl Answers, name: &str) -> Result<Option<Listener>, Error> {
    for kind in ["dynamic_listeners", "static_listeners"] {
        let own = name.to_owned();
        let called = move |one: &ListenerDump| {
            one.name == own || one.listener.as_ref().is_some_and(|it| it.name == own)
        };
        let found = envoy.lists(resource(kind, name), CONFIGS, called).await?;
        if let Some(active) = found.into_iter().find_map(ListenerDump::active) {
            return Ok(Some(active));
        }
    }
    Ok(None)
}

/// Listeners whose newest Envoy has refused.
pub(crate) async fn refused(envoy: &impl Answers) -> Result<Vec<RefusedListener>, Error> {
    let path = "/config_dump?resource=dynamic_listeners&mask=name,error_state.details".to_owned();
    let found: Vec<ListenerDump> =
        envoy.lists(path, CONFIGS, |one: &ListenerDump| one.error_state.is_some()).await?;
    let told = |one: ListenerDump| {
        Some(RefusedListener { name: one.name, details: one.error_state?.details })
    };
    Ok(found.into_iter().filter_map(told).collect())
}

/// Routes by their name.
pub(crate) async fn routes(envoy: &impl Answers, name: &str) -> Result<Option<RouteConfig>, Error> {
    let own = name.to_owned();
    let called = move |one: &RouteDump| one.route_config.name == own;
    let found = envoy.lists(resource("dynamic_route_configs", name), CONFIGS, called).await?;
    Ok(found.into_iter().next().map(|one| one.route_config))
}

/// A cluster by its name.
pub(crate) async fn cluster(envoy: &impl Answers, name: &str) -> Result<Found, Error> {
    let called = |own: String| move |one: &ClusterDump| one.cluster.name == own;
    for kind in ["dynamic_active_clusters", "static_clusters"] {
        let wanted = called(name.to_owned());
        let found = envoy.lists(resource(kind, name), CONFIGS, wanted).await?;
        if let Some(one) = found.into_iter().next() {
            return Ok(Found::Active(Box::new(one.cluster)));
        }
    }
    let path = resource("dynamic_warming_clusters", name);
    let warming = envoy.lists(path, CONFIGS, called(name.to_owned())).await?;
    Ok(if warming.is_empty() { Found::Missing } else { Found::Warming })
}

/// Who is in a cluster, as Envoy has them.
pub(crate) async fn hosts(envoy: &impl Answers, name: &str) -> Result<ClusterStatus, Error> {
    let path = format!("/clusters?format=json&filter={}", exactly(name));
    let own = name.to_owned();
    let called = move |one: &ClusterStatus| one.name == own;
    let found = envoy.lists(path, "cluster_statuses", called).await?;
    Ok(found.into_iter().next().unwrap_or_default())
}

/// Who is in it, as istiod says it.
pub(crate) async fn assignment(
    envoy: &impl Answers,
    name: &str,
) -> Result<Option<Assignment>, Error> {
    let path = format!("{}&include_eds", resource("dynamic_endpoint_configs", name));
    let own = name.to_owned();
    let called = move |one: &EndpointDump| one.endpoint_config.cluster_name == own;
    let found = envoy.lists(path, CONFIGS, called).await?;
    Ok(found.into_iter().next().map(|one| one.endpoint_config))
}

fn resource(kind: &str, name: &str) -> String {
    format!("/config_dump?resource={kind}&name_regex={}", exactly(name))
}

/// An expression that this name alone matches, as it may stand in an address.
fn exactly(name: &str) -> String {
    let mut expression = String::from("%5E");
    for octet in name.bytes() {
        match octet {
            octet if octet.is_ascii_alphanumeric() || octet == b'_' => {
                expression.push(char::from(octet));
            }
            // What is not ASCII is not escaped: half a character is none.
            octet if octet.is_ascii() => expression.push_str(&format!("%5C%{octet:02X}")),
            octet => expression.push_str(&format!("%{octet:02X}")),
        }
    }
    expression.push_str("%24");
    expression
}

const CONFIGS: &str = "configs";
/// Names are unique but for a few; what an Envoy has of listeners is counted in thousands.
const MOST: usize = 100_000;
