//! From the place where Envoy takes a connection to those who answer, step by step.

mod told;

use hawser_envoy::Error;
use hawser_rt::Chain as Causes;
use serde_json::json;

use self::told::{endpoints_step, facts, mentions, refusal, route_line, without_port};
use super::{
    Kind, Step, cluster,
    cluster::{Beyond, Way},
    dump::{Cluster, Listener, RouteConfig, Weighted},
    endpoint::{self, Endpoint},
    gather::{self, Answers, Found},
    listener::{self, Arrival, Connection, Http, Led, Routes, Strip},
    peer::{self, Own},
    request::{Request, Talk},
    route::{self, Asked, Does},
};

/// Where a request stands before Envoy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    /// What is asked for.
    pub(crate) request: &'a Request,
    /// Where the program connects to.
    pub(crate) to: std::net::SocketAddr,
    /// How that gets to Envoy.
    pub(crate) arrival: Arrival,
    /// Whether it is a service of the mesh by its name.
    pub(crate) ours: bool,
}

/// All steps from the listener on; where Envoy stops answering, the last one says so.
pub(crate) async fn walk(envoy: &impl Answers, start: &Start<'_>, own: &Own) -> Vec<Step> {
    let mut walk = Walk { envoy, start, own, steps: Vec::new() };
    if let Err(error) = walk.listener().await {
        walk.steps.push(silent(Kind::Listener, &error));
    }
    walk.steps
}

/// Envoy does not answer.
pub(crate) fn silent(step: Kind, error: &Error) -> Step {
    Step::new(step, "Envoy does not say more")
        .and(Causes(error).to_string())
        .unknown("systemctl status hawser-envoy")
}

struct Walk<'a, A> {
    envoy: &'a A,
    start: &'a Start<'a>,
    own: &'a Own,
    steps: Vec<Step>,
}

impl<A: Answers> Walk<'_, A> {
    async fn listener(&mut self) -> Result<(), Error> {
        let to = self.start.to;
        let index = gather::listening(self.envoy).await?;
        let refused = gather::refused(self.envoy).await?;
        let found = listener::candidates(&index, to, self.start.arrival);
        let about = |name: &str| refused.iter().find(|one| one.name == name);
        let Some((listener, place)) = self.usable(&found).await? else {
            let step = Step::new(Kind::Listener, format!("none of Envoy's takes {to}"));
            let meant = refused.iter().find(|one| mentions(&one.name, to));
            self.steps.push(match meant {
                Some(one) => refusal(step, one),
                None => step.breaks("Envoy refuses the connection", SHOW_LISTENERS),
            });
            return Ok(());
        };
        let by = if place == to {
            "by its address"
        } else if place.port() == to.port() {
            "by its port"
        } else {
            "as no other is for it"
        };
        let mut step = Step::new(Kind::Listener, format!("{} takes it, {by}", listener.name));
        if let Some(one) = about(&listener.name) {
            step = step.and(format!("Envoy refused a newer one: {}", one.details));
        }
        let stray = refused.iter().find(|one| mentions(&one.name, to) && one.name != listener.name);
        if let Some(one) = stray {
            self.steps.push(refusal(step, one));
            return Ok(());
        }
        self.chain(step, &listener).await
    }

    /// The first that is there, and takes what is redirected if it is.
    async fn usable(
        &self,
        found: &[(String, std::net::SocketAddr)],
    ) -> Result<Option<(Listener, std::net::SocketAddr)>, Error> {
        for (name, place) in found {
            let Some(listener) = gather::listener(self.envoy, name).await? else { continue };
            let bound = listener.bind_to_port != Some(false);
            if bound || matches!(self.start.arrival, Arrival::Redirected(_)) {
                return Ok(Some((listener, *place)));
            }
        }
        Ok(None)
    }

    async fn chain(&mut self, step: Step, listener: &Listener) -> Result<(), Error> {
        let request = self.start.request;
        let server_name = (request.talk == Talk::Tls).then_some(request.host.as_str());
        let http = matches!(request.talk, Talk::Http | Talk::Any);
        let connection = Connection { to: self.start.to, server_name, http };
        let Some(chain) = listener::chain(listener, &connection) else {
            let step = step.facts(json!({ "listener": listener.name }));
            self.steps.push(step.breaks(
                "no filter chain is for such a connection: Envoy closes it",
                SHOW_LISTENERS,
            ));
            return Ok(());
        };
        let led = listener::led(chain);
        let what = match &led {
            Led::Http(Http { routes: Routes::Named(name), .. }) => {
                format!("HTTP, by the routes {name}")
            }
            Led::Http(_) => "HTTP, by routes of its own".to_owned(),
            Led::Tcp(_) if http && request.talk == Talk::Http => {
                "as octets, not as HTTP".to_owned()
            }
            Led::Tcp(_) => "as octets".to_owned(),
            Led::Other(filter) => format!("to the filter {filter}, which is not followed"),
        };
        let chain_name = if chain.name.is_empty() { None } else { Some(chain.name.as_str()) };
        let facts = json!({ "listener": listener.name, "chain": chain_name, "http": matches!(led, Led::Http(_)) });
        let of_chain = chain_name.map(|name| format!("filter chain {name}: ")).unwrap_or_default();
        self.steps.push(step.and(format!("{of_chain}{what}")).facts(facts));
        match led {
            Led::Http(http) => self.routes(&http).await,
            Led::Tcp(clusters) => self.clusters(&clusters).await,
            Led::Other(_) => Ok(()),
        }
    }

    async fn routes(&mut self, http: &Http) -> Result<(), Error> {
        let own;
        let config = match &http.routes {
            Routes::Inline(config) => config,
            Routes::Named(name) => match gather::routes(self.envoy, name).await? {
                Some(config) => {
                    own = config;
                    &own
                }
                None => {
                    let what = format!("Envoy has no routes named {name}");
                    let step = Step::new(Kind::Route, what);
                    self.steps.push(step.breaks("Envoy answers 404", "hawser xds show rds"));
                    return Ok(());
                }
            },
            Routes::Scoped => {
                self.steps.push(Step::new(Kind::Route, "routes by scope, which are not followed"));
                return Ok(());
            }
        };
        self.host(http, config).await
    }

    async fn host(&mut self, http: &Http, config: &RouteConfig) -> Result<(), Error> {
        let whole = self.start.request.authority(self.start.to.port());
        let strip = config.ignore_port_in_host_matching || http.strip != Strip::None;
        let authority = if strip { without_port(&whole) } else { &whole };
        let Some((host, domain)) = route::host(&config.virtual_hosts, authority) else {
            let step = Step::new(Kind::Route, format!("no virtual host is for Host {whole}"))
                .facts(json!({ "routes": config.name, "authority": whole }));
            self.steps.push(step.breaks("Envoy answers 404", "hawser xds show rds"));
            return Ok(());
        };
        let asked = Asked {
            authority,
            method: &self.start.request.method,
            path: self.start.request.bare_path(),
            scheme: "http",
        };
        let (found, perhaps) = route::route(&host.routes, &asked);
        let by = format!("virtual host {}, by {domain}", host.name);
        let mut step = match found {
            Some(route) => Step::new(Kind::Route, route_line(route)).and(by),
            None => {
                Step::new(Kind::Route, format!("no route is for {} {}", asked.method, asked.path))
                    .and(by)
            }
        };
        for (other, on) in perhaps.iter().take(MOST_OTHERS) {
            step = step.and(format!("or {}, depending on {on}", route_line(other)));
        }
        let Some(found) = found else {
            step = step.facts(facts(config, host, None));
            self.steps.push(step.breaks("Envoy answers 404", "hawser xds show rds"));
            return Ok(());
        };
        step = step.facts(facts(config, host, Some(found)));
        self.does(step, found).await
    }

    async fn does(&mut self, step: Step, found: &super::dump::Route) -> Result<(), Error> {
        match route::does(found) {
            Does::Sends(clusters) => {
                self.steps.push(step);
                self.clusters(&clusters).await
            }
            Does::Answers(status) => {
                // What istiod has for hosts that nobody may talk to.
                let refused = status >= 400;
                let step = step.and(format!("Envoy answers {status} by itself"));
                let why = "the request does not leave this machine";
                self.steps.push(if refused {
                    step.breaks(why, "hawser xds show rds")
                } else {
                    step
                });
                Ok(())
            }
            Does::Redirects => {
                self.steps.push(step.and("Envoy answers with another address"));
                Ok(())
            }
            Does::Header(name) => {
                self.steps.push(step.and(format!("to the cluster that the header {name} names")));
                Ok(())
            }
            Does::Other => {
                self.steps.push(step.and("what it does is not followed"));
                Ok(())
            }
        }
    }

    async fn clusters(&mut self, clusters: &[Weighted]) -> Result<(), Error> {
        let share = |one: &Weighted| one.weight.unwrap_or(1);
        let total: u32 = clusters.iter().map(share).fold(0, u32::saturating_add);
        let used = clusters.iter().filter(|one| share(one) > 0).take(MOST_CLUSTERS);
        for one in used {
            let part = (clusters.len() > 1 && total > 0).then(|| {
                format!("{:.0}% of them: ", f64::from(share(one)) * 100.0 / f64::from(total))
            });
            self.cluster(&one.name, &part.unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn cluster(&mut self, name: &str, part: &str) -> Result<(), Error> {
        let step = |what: &str| Step::new(Kind::Cluster, format!("{part}{name}{what}"));
        let found = match gather::cluster(self.envoy, name).await? {
            Found::Active(found) => found,
            Found::Warming => {
                let step = step(" waits for its endpoints or certificates")
                    .facts(json!({ "cluster": name }));
                self.steps.push(step.breaks("Envoy answers 503", "hawser status"));
                return Ok(());
            }
            Found::Missing => {
                let step = step(" is not there").facts(json!({ "cluster": name }));
                let why = "Envoy answers 503: it has no such cluster";
                self.steps.push(step.breaks(why, "hawser xds show cds"));
                return Ok(());
            }
        };
        let (kind, sharing) = (cluster::kind(&found), cluster::sharing(&found));
        let subset = cluster::parts(name).map(|(_, subset, _)| subset).filter(|it| !it.is_empty());
        let facts = json!({ "cluster": name, "type": kind, "lb": sharing, "subset": subset });
        match cluster::beyond(name) {
            Some(Beyond::BlackHole) => {
                let step = step("").facts(facts).and("what the mesh does not know is not let out");
                let why = "Envoy drops it: outboundTrafficPolicy is REGISTRY_ONLY";
                self.steps.push(step.breaks(why, "hawser dns table"));
                return Ok(());
            }
            Some(Beyond::Passthrough) => {
                let step = step("").facts(facts);
                let step = step.and(format!("past the mesh, to {} as it is", self.start.to));
                let why = "nothing of Envoy's is for this service, though the mesh knows its name";
                self.steps.push(if self.start.ours {
                    step.breaks(why, SHOW_LISTENERS)
                } else {
                    step
                });
                return Ok(());
            }
            None => (),
        }
        let mut step = step("").facts(facts).and(format!(
            "{}, {}",
            kind.to_lowercase(),
            sharing.to_lowercase()
        ));
        if let Some(subset) = subset {
            step = step.and(format!("the subset {subset}"));
        }
        self.steps.push(step);
        if kind == "ORIGINAL_DST" {
            let way = cluster::way(&found, &super::dump::Metadata::default());
            self.steps.push(peer::step(&way, self.own));
            return Ok(());
        }
        self.endpoints(name, &found).await
    }

    async fn endpoints(&mut self, name: &str, found: &Cluster) -> Result<(), Error> {
        let hosts = gather::hosts(self.envoy, name).await?;
        let said = gather::assignment(self.envoy, name).await?;
        let all = endpoint::all(&hosts, said.as_ref());
        let called: Vec<&Endpoint> =
            match all.iter().filter(|one| one.is_called()).collect::<Vec<_>>() {
                none if none.is_empty() && endpoint::panics(found) => all.iter().collect(),
                some => some,
            };
        self.steps.push(endpoints_step(name, &all, called.len(), endpoint::panics(found)));
        if called.is_empty() {
            return Ok(());
        }
        let gateways: Vec<&Endpoint> =
            called.iter().copied().filter(|one| one.is_gateway()).collect();
        if !gateways.is_empty() {
            let places: Vec<&str> = gateways.iter().map(|one| one.address.as_str()).collect();
            let what = format!("into another network by {}", places.join(", "));
            let step = Step::new(Kind::Gateway, what)
                .and("it does not open the connection, and sends it on by its SNI")
                .facts(json!({ "gateways": places }));
            self.steps.push(step);
        }
        let mut ways: Vec<Way> = Vec::new();
        for one in &called {
            let way = cluster::way(found, &one.metadata);
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        self.steps.extend(ways.iter().map(|way| peer::step(way, self.own)));
        Ok(())
    }
}

const SHOW_LISTENERS: &str = "hawser xds show lds";
const MOST_OTHERS: usize = 4;
const MOST_CLUSTERS: usize = 8;

#[cfg(test)]
mod tests;
