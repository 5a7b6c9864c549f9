//! On a real machine: what the README says an operator does, on a booted Debian in a network of its
//! own, with a mesh in another. Nothing on the machine knows of the test.

pub(crate) mod site;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{istiod::Reach, mesh::OUTSIDE, sidecar::Arrival};
use serde_json::Value;

use crate::machine::wait_for;
use site::{CLOUD, PATIENCE, Site};

#[test]
fn a_machine_comes_into_the_mesh_lives_there_and_leaves_without_a_trace() -> Result<()> {
    let mut site = Site::build("life")?;
    site.start("hears.py", &[])?;
    let before = site.look()?;

    site.succeed(&["dpkg", "-i", &site.package()])?;
    let joined = site.succeed(&["hawser", "join", &site.bundle()]);
    joined.with_context(|| site.told())?;
    site.comes("the whole machine", &["systemctl", "start", "hawser.target"])?;
    site.talks_both_ways().context("at first")?;
    site.resolves_outside()?;
    site.comes("what an operator reads", &["hawser", "status"])?;
    explains_a_request(&site)?;
    let journal = site.succeed(&["journalctl", "-u", "hawser", "-o", "cat"])?;
    ensure!(journal.contains("certificate"), "{journal}");

    survives_a_reboot_without_istiod(&mut site)?;
    repairs_flushed_rules(&site).with_context(|| site.told())?;
    gives_the_host_its_resolver_back(&site).with_context(|| site.told())?;

    // Stopped, nothing of it is in the way.
    site.succeed(&["systemctl", "stop", "hawser"])?;
    let rules = site.succeed(&["nft", "list", "ruleset"])?;
    ensure!(rules.is_empty(), "{rules}");
    for unit in ["hawser-envoy", "hawser-intercept", "hawser.target"] {
        let state = site.property(unit, "ActiveState")?;
        ensure!(state == "inactive", "{unit} is {state}: {}", site.told());
    }
    site.resolves_outside().context("without the agent")?;

    site.succeed(&["dpkg", "-r", "hawser"])?;
    site.succeed(&["dpkg", "-P", "hawser"])?;
    let after = site.look()?;
    let lost = before.lines().filter(|line| !after.contains(line));
    let left: Vec<_> = after.lines().filter(|line| !before.contains(line)).collect();
    let lost: Vec<_> = lost.collect();
    // Files may be the user's that nobody knows of: it stays, and its number is nobody else's.
    let left: Vec<_> = left.into_iter().filter(|line| !line.starts_with("istio-proxy:")).collect();
    ensure!(left.is_empty() && lost.is_empty(), "left: {left:#?}\nlost: {lost:#?}");
    Ok(())
}

#[test]
fn nothing_is_dropped_when_the_agent_restarts_dies_or_is_upgraded() -> Result<()> {
    let mut site = Site::build("dropped")?;
    site.succeed(&["dpkg", "-i", &site.package()])?;
    let joined = site.succeed(&["hawser", "join", &site.bundle()]);
    joined.with_context(|| site.told())?;
    site.comes("the whole machine", &["systemctl", "start", "hawser.target"])?;
    let host = site.mesh.service.host();
    site.comes("a name of the mesh", &["getent", "ahostsv4", &host])?;
    let envoy = site.property("hawser-envoy", "MainPID")?;
    let registered = registered(&site);

    site.start("crowd.py", &[&host, "500", "1000", STOP, SAID])?;
    let goes_on = |what: &str| {
        let from = crowd(&site)?;
        let gone_on = wait_for(what, PATIENCE, || {
            let now = crowd(&site)?;
            let more = |key: &str, by| now[key].as_u64() > from[key].as_u64().map(|it| it + by);
            let all = now["open"] == 500;
            Ok((all && more("requests", 600) && more("questions", 2000)).then_some(()))
        });
        gone_on.with_context(|| format!("{:?}\n{}", crowd(&site), site.told()))
    };
    wait_for("500 connections", PATIENCE, || Ok((crowd(&site)?["open"] == 500).then_some(())))?;
    goes_on("traffic")?;
    site.succeed(&["systemctl", "restart", "hawser"])?;
    goes_on("traffic after a restart")?;
    site.succeed(&["systemctl", "kill", "-s", "KILL", "hawser"])?;
    goes_on("traffic after a death")?;
    site.comes("the agent after its death", &["hawser", "status"])?;
    site.succeed(&["dpkg", "-i", &site.package()])?;
    goes_on("traffic after an upgrade")?;
    site.comes("the agent after an upgrade", &["hawser", "status"])?;
    goes_on("traffic at the end")?;

    site.succeed(&["touch", STOP])?;
    let ended = wait_for("the end of the crowd", PATIENCE, || {
        let said = crowd(&site)?;
        Ok((said["ended"] == true).then_some(said))
    })?;
    for what in ["broken", "lost", "wrong"] {
        ensure!(ended[what] == 0, "{what}: {ended}\n{}", site.told());
    }
    ensure!(site.property("hawser-envoy", "MainPID")? == envoy, "Envoy is another one");
    let still = self::registered(&site);
    ensure!(still == registered, "registered {registered:?}, then {still:?}");
    Ok(())
}

#[test]
fn programs_see_who_calls_by_tproxy_and_a_unit_that_appears_later_is_in_the_mesh() -> Result<()> {
    let mut site = Site::build_for("tproxy", Arrival::Transparent)?;
    site.start("hears.py", &[])?;
    site.succeed(&["dpkg", "-i", &site.package()])?;
    site.shell(
        r#"sed -i 's/^\[intercept\]$/&\nmode = "tproxy"\nunits = "late.service"/' /etc/hawser/hawser.toml
        mkdir -p /var/lib/istio/envoy /etc/systemd/system/hawser-envoy.service.d
        echo ISTIO_META_INTERCEPTION_MODE=TPROXY >/var/lib/istio/envoy/sidecar.env
        printf '[Service]\nCapabilityBoundingSet=CAP_NET_ADMIN\nAmbientCapabilities=CAP_NET_ADMIN\n' \
            >/etc/systemd/system/hawser-envoy.service.d/transparent.conf
        systemctl daemon-reload"#,
    )?;

    // As on a machine whose provider hands the bundle over.
    site.succeed(&["tar", "-cf", "/run/bundle.tar", "-C", &site.bundle(), "."])?;
    let credential = ["-p", "LoadCredential=hawser.bundle:/run/bundle.tar"];
    let join = ["hawser", "join", "--credential", "hawser.bundle"];
    let unit = [&["systemd-run", "--wait", "--pipe", "-q"][..], &credential, &join].concat();
    site.succeed(&unit).with_context(|| site.told())?;
    site.comes("the whole machine", &["systemctl", "start", "hawser.target"])?;

    let seen = site.hears_the_mesh()?;
    ensure!(seen.contains(&format!("from: {CLOUD}\r\n")), "it was called by {seen}");

    let (program, host) = (Site::program("asks.py"), site.mesh.service.host());
    let outside = site.machine()?.run(&["timeout", "2", "python3", &program, &host, "/"])?;
    ensure!(!outside.status.success(), "nobody else is in the mesh: {outside:?}");
    let asks = format!(
        "systemd-run -q --unit=late --uid=app sh -c \
        'until python3 {program} {host} /late >/tmp/late; do sleep 0.1; done'"
    );
    site.shell(&asks)?;
    let answer = wait_for("a request of the unit", PATIENCE, || {
        let said = site.succeed(&["cat", "/tmp/late"])?;
        Ok(said.contains("HTTP/1.1 200").then_some(said))
    });
    let answer = answer.with_context(|| site.told())?;
    ensure!(answer.contains(&site.mesh.identity()), "the workload saw {answer}");
    Ok(())
}

/// Under which names and addresses istiod knows machines.
/// From the name to the peer, by the rules that are loaded; and for whom they are not.
fn explains_a_request(site: &Site) -> Result<()> {
    let request = "http://hello.demo.svc.cluster.local/here";
    let path = site.succeed(&["hawser", "explain", request])?;
    for part in ["redirected to Envoy, port 15001", "mutual TLS", "The path is whole."] {
        ensure!(path.contains(part), "no {part:?} in:\n{path}");
    }
    let line = format!("hawser explain {request} --user istio-proxy; echo ends with $?");
    let path = site.shell(&line)?;
    ensure!(path.contains("\"Envoy and the agent\"") && path.contains("ends with 1"), "{path}");
    Ok(())
}

fn registered(site: &Site) -> Vec<(String, String)> {
    let entries = site.mesh.istiod.seen().registry.entries;
    entries.into_iter().map(|(name, entry)| (name, entry.address)).collect()
}

/// What has come of connections and questions so far.
fn crowd(site: &Site) -> Result<Value> {
    serde_json::from_str(&site.succeed(&["cat", SAID])?).context("read what the crowd says")
}

/// The plug is pulled, istiod is away, and the machine is in the mesh all the same.
fn survives_a_reboot_without_istiod(site: &mut Site) -> Result<()> {
    let down = site.mesh.istiod.reach(Reach::Down);
    site.runtime.block_on(down)?;
    site.reboot()?;
    site.start("hears.py", &[])?;
    site.talks_both_ways().context("after a reboot without istiod")?;
    let stale = site.status()?;
    ensure!(!stale["relay"]["stale"].is_null(), "{stale}");
    let up = site.mesh.istiod.reach(Reach::Up);
    site.runtime.block_on(up)?;
    let fresh = wait_for("fresh configuration", PATIENCE, || {
        Ok(site.status()?["relay"]["stale"].is_null().then_some(()))
    });
    fresh.with_context(|| site.told())?;
    site.talks_both_ways().context("with istiod back")
}

/// As `nft flush ruleset`, or a firewall that is loaded anew, does.
fn repairs_flushed_rules(site: &Site) -> Result<()> {
    site.succeed(&["nft", "flush", "ruleset"])?;
    wait_for("the rules to be back", PATIENCE, || {
        let rules = site.succeed(&["nft", "list", "tables"])?;
        Ok(rules.contains("inet hawser").then_some(()))
    })?;
    site.talks_both_ways().context("with rules that were flushed")
}

/// An agent that has stopped answering takes nobody's DNS away.
fn gives_the_host_its_resolver_back(site: &Site) -> Result<()> {
    site.succeed(&["systemctl", "kill", "-s", "STOP", "hawser"])?;
    let heard = site.mesh.outside.heard().len();
    wait_for("the host's own resolver", PATIENCE, || {
        site.resolves_outside()?;
        Ok((site.mesh.outside.heard().len() > heard).then_some(()))
    })
    .with_context(|| format!("{OUTSIDE} while the agent stands still"))?;
    site.succeed(&["systemctl", "kill", "-s", "CONT", "hawser"])?;
    let host = site.mesh.service.host();
    site.comes("names of the mesh again", &["getent", "ahostsv4", &host])?;
    Ok(())
}

const STOP: &str = "/run/crowd-stop";
const SAID: &str = "/tmp/crowd";
