//! Checks of Envoy: that there is one, that it runs, is ready, and has its ports.

mod binary;
mod ports;
mod server;

use std::net::{Ipv4Addr, SocketAddr};

use hawser_envoy::{
    admin::Admin,
    launch::Launch,
    unit::{self, Started, Unit},
};

use super::{Check, Finding, Patient};
use crate::config::Config;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "envoy-binary",
        asks: "Is there an Envoy to start?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { binary::found(patient) }),
    },
    Check {
        name: "envoy-version",
        asks: "Does Envoy run on this machine, and is it new enough?",
        needs: &["envoy-binary"],
        network: false,
        joined: false,
        look: |patient| Box::pin(binary::version(patient)),
    },
    Check {
        name: "envoy-ports",
        asks: "Are Envoy's ports its own, or free?",
        needs: &[],
        network: false,
        joined: false,
        look: |patient| Box::pin(async { ports::look(patient) }),
    },
    Check {
        name: "envoy-unit",
        asks: "Does systemd keep hawser-envoy.service running?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(binary::unit(patient)),
    },
    Check {
        name: "envoy-ending",
        asks: "Does Envoy stay up?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { binary::ending(patient) }),
    },
    Check {
        name: "envoy-bootstrap",
        asks: "Does Envoy take the bootstrap that the agent makes?",
        needs: &["envoy-binary"],
        network: false,
        joined: true,
        look: |patient| Box::pin(binary::bootstrap(patient)),
    },
    Check {
        name: "envoy-admin",
        asks: "Does Envoy's admin interface answer?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(server::admin(patient)),
    },
    Check {
        name: "envoy-ready",
        asks: "Has Envoy clusters, listeners and workers?",
        needs: &["envoy-admin"],
        network: false,
        joined: true,
        look: |patient| Box::pin(server::ready(patient)),
    },
    Check {
        name: "envoy-drained",
        asks: "Is this machine in the mesh, and not being taken out of it?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(server::drained(patient)),
    },
    Check {
        name: "envoy-endpoints",
        asks: "Has every service an endpoint that is well?",
        needs: &["envoy-admin"],
        network: false,
        joined: true,
        look: |patient| Box::pin(server::endpoints(patient)),
    },
    Check {
        name: "envoy-files",
        asks: "Has Envoy room for more open files?",
        needs: &[],
        network: false,
        joined: true,
        look: |patient| Box::pin(async { ports::files(patient) }),
    },
];

/// The settings, if there is to be an Envoy; else what there is to say.
fn settings(patient: &Patient) -> Result<&Config, Finding> {
    let Ok(config) = &patient.config else {
        return Err(Finding::unknown("the settings are wrong: `hawser check`"));
    };
    if config.identity.only {
        return Err(Finding::ok("identity.only is true: there is nothing for Envoy to do"));
    }
    Ok(config)
}

/// How the agent has Envoy's unit start it.
fn launch(patient: &Patient) -> Option<Launch> {
    unit::read(&Launch::path(&patient.paths.run()))
}

/// What the unit has started.
fn started(patient: &Patient) -> Option<Started> {
    Unit::under(patient.paths.root()).started()
}

/// Whether the agent leads Envoy's life itself.
fn is_led(patient: &Patient) -> bool {
    let envoy = patient.snapshot.as_ref().and_then(|snapshot| snapshot.envoy.as_ref());
    envoy.is_some_and(|envoy| envoy.state != "elsewhere")
}

/// Envoy's process, as far as somebody has noted it and it is there.
fn pid(patient: &Patient) -> Option<u32> {
    let led = patient.snapshot.as_ref().and_then(|snapshot| snapshot.envoy.as_ref()?.pid);
    let pid = led.or_else(|| started(patient).map(|started| started.pid))?;
    patient.file(&format!("/proc/{pid}")).exists().then_some(pid)
}

/// Its admin interface.
fn interface(patient: &Patient, config: &Config) -> SocketAddr {
    let told = patient.snapshot.as_ref().and_then(|snapshot| snapshot.envoy.as_ref());
    let told = told.map(|envoy| envoy.admin).or_else(|| Some(launch(patient)?.admin));
    told.unwrap_or((Ipv4Addr::LOCALHOST, config.envoy.admin_port).into())
}

fn asked(patient: &Patient, config: &Config) -> Admin {
    Admin::new(interface(patient, config)).with_limit(PATIENCE)
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
