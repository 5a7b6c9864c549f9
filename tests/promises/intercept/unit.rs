//! The unit of the guard on a booted systemd: started again, killed or reloaded, it opens no hole;
//! stopped with the agent, it leaves nothing.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    HAWSER,
    machine::{Machine, wait_for},
};

const PATIENCE: Duration = Duration::from_secs(60);
const UNIT: &str = include_str!("../../../systemd/hawser-intercept.service");
const AGENT: &str = include_str!("../../../systemd/hawser.service");

/// The agent and Envoy are stood for by what listens where they do.
const SET_UP: &str = r#"
set -e
groupadd -r istio-proxy && useradd -r -g istio-proxy istio-proxy
mkdir -p /etc/hawser/mesh
printf "ISTIO_SERVICE_CIDR='*'\nISTIO_INBOUND_PORTS='*'\n" >/etc/hawser/mesh/cluster.env
printf '[istiod]\naddress = "istiod.example:15012"\nroot_cert = "SYSTEM"\n' >/etc/hawser/hawser.toml
cd /etc/systemd/system
printf '[Service]\nExecStart=/bin/sleep infinity\n%s\n' "$1" >hawser.service
printf '[Unit]\nAfter=hawser-intercept.service\n[Service]\nUser=istio-proxy\nExecStart=/usr/bin/python3 -c "%s"\n' \
    "import socket,time; all=[socket.create_server(('',port)) for port in (15001,15006)]; time.sleep(1e6)" \
    >hawser-envoy.service
systemctl daemon-reload
systemctl start hawser hawser-intercept hawser-envoy
"#;

/// Looks without a pause, and notes each time that the rules are not in force.
const WATCH: &str = "while :; do said=$(nft list set inet hawser outbound 2>&1); \
    case $said in *'elements = { tcp }'*) ;; *) date +%T.%N; echo \"$said\" ;; esac >>/run/holes; \
    echo look >>/run/looks; done";

#[test]
fn a_restart_opens_no_hole_and_a_stop_leaves_nothing() -> Result<()> {
    let home = Path::new(HAWSER).parent().context("a directory")?;
    let machine = Machine::boot("guard", &[home])?;
    let before = machine.succeed(&["nft", "list", "ruleset"])?;
    machine.succeed(&["ln", "-s", HAWSER, "/usr/bin/hawser"])?;
    let place = "/etc/systemd/system/hawser-intercept.service";
    machine.succeed(&["sh", "-c", "printf %s \"$1\" >\"$2\"", "sh", UNIT, place])?;
    // What the agent's unit does to the others when it is stopped.
    let stop = AGENT.find("\nExecStop=").and_then(|start| AGENT.get(start + 1..));
    let stop = stop.context("no ExecStop=")?.lines().take(2).collect::<Vec<_>>().join("\n");
    machine.succeed(&["sh", "-c", SET_UP, "sh", &stop])?;
    let redirects = |what: &str| {
        wait_for(what, PATIENCE, || {
            let shown = machine.run(&["hawser", "intercept", "show"])?;
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            Ok(shown.contains("redirects out, in").then_some(()))
        })
    };
    redirects("rules")?;
    let watch = machine.start(&["sh", "-c", WATCH])?;
    let steps: [&[&str]; 4] = [
        &["systemctl", "restart", "hawser-intercept"],
        &["systemctl", "kill", "-s", "KILL", "hawser-intercept"],
        &["systemctl", "reload", "hawser-intercept"],
        &["systemctl", "restart", "hawser"],
    ];
    for step in steps {
        // After it was killed, its rules are in force before systemd has started it again.
        wait_for("the guard", PATIENCE, || {
            let active = ["systemctl", "is-active", "--quiet", "hawser-intercept"];
            Ok(machine.run(&active)?.status.success().then_some(()))
        })?;
        machine.succeed(step)?;
        redirects("rules").with_context(|| format!("{step:?}"))?;
    }
    let looks = machine.succeed(&["sh", "-c", "wc -l </run/looks"])?;
    ensure!(looks.trim().parse::<u32>()? > 10, "{looks}");
    drop(watch);
    let holes = machine.run(&["cat", "/run/holes"])?;
    let journal = ["journalctl", "-o", "short-precise", "-u", "hawser-intercept", "--no-pager"];
    let holes = String::from_utf8_lossy(&holes.stdout).into_owned();
    ensure!(holes.is_empty(), "{}\n{holes}", machine.succeed(&journal)?);

    machine.succeed(&["systemctl", "stop", "hawser"])?;
    for unit in ["hawser-intercept", "hawser-envoy"] {
        let state = machine.run(&["systemctl", "is-active", unit])?;
        ensure!(state.stdout == b"inactive\n", "{unit}");
    }
    let after = machine.succeed(&["nft", "list", "ruleset"])?;
    ensure!(after == before, "{after}");
    ensure!(!machine.run(&["test", "-e", "/run/hawser-intercept"])?.status.success());
    Ok(())
}
