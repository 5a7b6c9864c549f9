//! What the status port is told of the configuration.

use std::net::{Ipv4Addr, Ipv6Addr};

use hawser_scrape::{Kind, Options, Scraper, Source, targets::Target};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    status::{
        Facts,
        port::{At, Audience, Port, Probes, Startup},
    },
};

/// What it shows and can do, and what tells that the agent is to end.
pub(crate) fn port(config: &Config, facts: Facts) -> (Port, CancellationToken) {
    let wanted = &config.port;
    // Envoy listens on all addresses of a family or two, and so do most programs.
    let hosts = || vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let envoy = (wanted.envoy && facts.mesh.is_some())
        .then(|| Source::new(Kind::Envoy, hosts(), config.envoy.prometheus_port, ENVOY));
    let application = |Target { port, path }: &Target| {
        Source::new(Kind::Application, hosts(), *port, path.clone())
    };
    let options = Options {
        sources: envoy.into_iter().chain(wanted.applications.iter().map(application)).collect(),
        patience: wanted.timeout,
        most: wanted.largest,
    };
    let quit = CancellationToken::new();
    let port = Port {
        scraper: Scraper::new(options, &facts.metrics),
        audience: if wanted.local_only { Audience::ThisMachine } else { Audience::Anybody },
        probes: Probes {
            paths: wanted.probes.clone(),
            at: if wanted.probes_at_loopback { At::Loopback } else { At::Machine },
            port: config.status.port(),
        },
        quit: quit.clone(),
        startup: Startup::begin(&facts.metrics),
        facts,
    };
    (port, quit)
}

const ENVOY: &str = "/stats/prometheus";
