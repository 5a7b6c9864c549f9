//! Faults of the agent: in what systemd says of it, and in what it says of itself.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{Fault, Site, process, program, put, stand_in::Joined};

pub(super) const FAULTS: &[Fault] = &[
    ("istio-agent", an_agent_of_istios_beside_it_is_named),
    ("agent-port", whoever_has_the_status_port_is_named),
    ("agent-unit", a_service_that_has_failed_is_told_by_how_it_ended),
    ("agent-restarts", a_service_that_does_not_stay_up_is_told),
    ("agent-answers", an_agent_that_says_nothing_is_told_by_why),
    ("agent-version", another_version_than_the_installed_is_named),
    ("agent-ready", what_the_agent_waits_for_is_named),
    ("agent-sockets", a_socket_that_is_gone_shut_or_deaf_is_named),
    ("agent-strangers", strangers_are_counted),
    ("sds-served", certificates_that_envoy_refuses_are_told),
    ("xds-accepted", what_envoy_refuses_is_named_with_its_reason),
    ("xds-fresh", configuration_that_nobody_confirms_is_told_by_its_age),
    ("xds-whole", what_envoy_cannot_load_is_named),
    ("last-good", configuration_that_is_not_kept_is_told),
];

/// Units that run.
pub(super) fn healthy(root: &Path) -> Result<()> {
    let script = "case \"$1\" in show) for unit; do :; done; \
                  exec cat \"${0%/usr/bin/systemctl}/units/${unit%.service}\" 2>/dev/null;; esac\n\
                  echo 'systemd 257 (257.9-1)'; echo '+PAM +AUDIT'";
    program(root, "usr/bin/systemctl", script)?;
    for unit in ["hawser", "hawser-envoy", "hawser-intercept", "hawser-resolved"] {
        put(root, &format!("units/{unit}"), RUNS)?;
    }
    put(root, "units/istio", "LoadState=not-found\nActiveState=inactive\n")?;
    put(root, "proc/uptime", "86400.17 172000.00\n")
}

/// A unit that runs since long ago.
pub(super) const RUNS: &str = "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n\
                               ExecMainStatus=0\nNRestarts=0\nActiveEnterTimestampMonotonic=60000000\n";

/// The same in another state.
pub(super) fn unit(site: &Site, name: &str, state: &str) -> Result<()> {
    site.put(&format!("units/{name}"), &format!("LoadState=loaded\n{state}\n"))
}

#[tokio::test]
async fn an_agent_of_istios_beside_it_is_named() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.look("istio-agent").await?.ok()?;
    unit(&joined.site, "istio", "Id=istio.service\nActiveState=active")?;
    let seen = joined.look("istio-agent").await?;
    seen.failed(&["istio.service is active", "from each other"], "systemctl disable --now istio")?;

    // Its name may be another for ours.
    unit(&joined.site, "istio", "Id=hawser.service\nActiveState=active")?;
    joined.look("istio-agent").await?.ok()?;
    process(&joined.site, 71, "pilot-agent", &[])?;
    let seen = joined.look("istio-agent").await?;
    seen.failed(&["pilot-agent (pid 71)"], "stop it where it was started")
}

#[tokio::test]
async fn whoever_has_the_status_port_is_named() -> Result<()> {
    let site = Site::new()?;
    site.look("agent-port").await?.says("ok", &["15020 is free"])?;
    site.put("proc/self/net/tcp", &super::sockets(&[(15020, "0A", 41)]))?;
    process(&site, 71, "nginx", &[41])?;

    let seen = site.look("agent-port").await?;

    seen.failed(&["nginx (pid 71) has", ":15020"], "status.listen")?;
    // Istio's own goes when this one comes.
    process(&site, 71, "pilot-agent", &[])?;
    site.look("agent-port").await?.says("ok", &["leaves when hawser starts"])
}

#[tokio::test]
async fn a_service_that_has_failed_is_told_by_how_it_ended() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.look("agent-unit").await?.ok()?;
    let refused = "ActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=78";
    unit(&joined.site, "hawser", refused)?;
    let seen = joined.look("agent-unit").await?;
    seen.failed(&["ended with 78", "settings are wrong"], "`hawser check`")?;

    unit(&joined.site, "hawser", "ActiveState=failed\nResult=start-limit-hit")?;
    joined.look("agent-unit").await?.failed(&["too often"], "reset-failed hawser")?;

    let again = "ActiveState=activating\nSubState=auto-restart\nResult=watchdog\nNRestarts=12";
    unit(&joined.site, "hawser", again)?;
    let seen = joined.look("agent-unit").await?;
    seen.failed(&["again and again, 12 times", "watchdog"], "journalctl -u hawser")?;

    fs::remove_dir(joined.site.file("run/systemd/system"))?;
    joined.look("agent-unit").await?.says("unknown", &["systemd does not run"])
}

#[tokio::test]
async fn a_service_that_does_not_stay_up_is_told() -> Result<()> {
    let joined = Joined::alone("")?;
    let restarted = "ActiveState=active\nSubState=running\nNRestarts=4\n";
    let since = |seconds: u64| format!("{restarted}ActiveEnterTimestampMonotonic={seconds}000000");
    unit(&joined.site, "hawser", &since(86_100))?;
    let seen = joined.look("agent-restarts").await?;
    seen.warns(&["again 4 times", "watchdog"], "journalctl -u hawser -p warning")?;

    // What was yesterday is no news.
    unit(&joined.site, "hawser", &since(100))?;
    joined.look("agent-restarts").await?.ok()
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_told_by_why() -> Result<()> {
    let joined = Joined::with("", |_| {}).await?;
    joined.look("agent-answers").await?.ok()?;

    let joined = Joined::alone("")?;
    let seen = joined.look("agent-answers").await?;
    seen.failed(&["run/hawser/admin.sock", "no agent runs"], "hawser run --root")?;

    let path = joined.site.file("run/hawser/admin.sock");
    fs::create_dir_all(joined.site.file("run/hawser"))?;
    drop(UnixListener::bind(path)?);
    joined.look("agent-answers").await?.failed(&["refused", "was killed"], "hawser run --root")
}

#[tokio::test]
async fn another_version_than_the_installed_is_named() -> Result<()> {
    let joined = Joined::with("", |status| status["version"] = json!("0.0.1")).await?;
    let seen = joined.look("agent-version").await?;
    seen.warns(&["hawser 0.0.1 runs", env!("CARGO_PKG_VERSION")], "start the agent anew")?;

    let joined = Joined::with("", |status| status["pid"] = json!(71)).await?;
    process(&joined.site, 71, "hawser", &[])?;
    let exe = joined.site.file("proc/71/exe");
    std::os::unix::fs::symlink("/usr/bin/hawser (deleted)", exe)?;
    let seen = joined.look("agent-version").await?;
    seen.warns(&["pid 71", "was replaced"], "start the agent anew")
}

#[tokio::test]
async fn what_the_agent_waits_for_is_named() -> Result<()> {
    let lacks = |status: &mut Value| {
        status["waits_for"] = json!(["identity", "dns"]);
        status["identity"]["trouble"] = json!("istiod refuses the token");
    };
    let joined = Joined::with("", lacks).await?;
    let seen = joined.look("agent-ready").await?;
    seen.failed(&["identity, dns", "refuses the token"], "hawser identity show")
}

#[tokio::test]
async fn a_socket_that_is_gone_shut_or_deaf_is_named() -> Result<()> {
    let mut joined = Joined::with("", |_| {}).await?;
    joined.look("agent-sockets").await?.ok()?;
    let admin = joined.site.file("run/hawser/admin.sock");
    fs::set_permissions(&admin, Permissions::from_mode(0o666))?;
    let seen = joined.look("agent-sockets").await?;
    seen.warns(&["admin.sock can be opened by everybody"], "chmod 660")?;

    let xds = joined.site.file("run/hawser/xds.sock");
    fs::set_permissions(&xds, Permissions::from_mode(0o600))?;
    let seen = joined.look("agent-sockets").await?;
    seen.failed(&["xds.sock has mode 600", "Envoy may not connect"], "chmod 666")?;

    joined.deafen();
    fs::set_permissions(&xds, Permissions::from_mode(0o666))?;
    let seen = joined.look("agent-sockets").await?;
    seen.failed(&["sds.sock takes no connection", "refused"], "start the agent anew")?;

    fs::remove_file(joined.site.file("run/hawser/sds.sock"))?;
    let seen = joined.look("agent-sockets").await?;
    seen.failed(&["sds.sock is not there"], "start the agent anew")
}

#[tokio::test]
async fn strangers_are_counted() -> Result<()> {
    let joined = Joined::with("", |status| status["relay"]["refused_peers"] = json!(3)).await?;
    let seen = joined.look("agent-strangers").await?;
    seen.warns(&["3 connections", "only root"], "envoy.user")
}

#[tokio::test]
async fn certificates_that_envoy_refuses_are_told() -> Result<()> {
    let secrets = |streams: u64, accepted: u64, rejected: u64| {
        move |status: &mut Value| {
            let secrets = &mut status["secrets"];
            secrets["streams"] = json!(streams);
            secrets["accepted"] = json!(accepted);
            secrets["rejected"] = json!(rejected);
        }
    };
    let joined = Joined::with("", secrets(1, 0, 2)).await?;
    let seen = joined.look("sds-served").await?;
    seen.failed(&["refuses its certificates", "2 refused"], "journalctl -u hawser-envoy")?;

    let without = Joined::with("", secrets(0, 0, 0)).await?;
    without.look("sds-served").await?.ok()?;
    super::envoy::runs(&without.site, 77, "{}")?;
    let seen = without.look("sds-served").await?;
    seen.warns(&["asks for no certificate"], "systemctl restart hawser-envoy")
}

#[tokio::test]
async fn what_envoy_refuses_is_named_with_its_reason() -> Result<()> {
    let refuses = |status: &mut Value| {
        status["relay"]["types"] = json!({ LISTENER: {
            "sent": { "version": "17", "resources": 4, "at": 1 }, "accepted": null,
            "responses": 1, "rejections": 1, "rejected": "no such filter: x", "refuses": true,
        }});
    };
    let joined = Joined::with("", refuses).await?;
    let seen = joined.look("xds-accepted").await?;
    seen.failed(&["refuses Listener version 17", "no such filter: x"], "istioctl analyze")?;

    let program = |status: &mut Value| {
        status["relay"]["refusing"] =
            json!([{ "program": "shop", "type_url": LISTENER, "reason": "unknown field" }]);
    };
    let joined = Joined::with("", program).await?;
    let seen = joined.look("xds-accepted").await?;
    seen.warns(&["shop refuses Listener", "unknown field"], "that program")
}

#[tokio::test]
async fn configuration_that_nobody_confirms_is_told_by_its_age() -> Result<()> {
    let stale = |status: &mut Value| {
        status["relay"]["stale"] = json!({ "of": 1_600_000_000, "since": 1_700_000_000 });
        status["relay"]["trouble"] = json!("connection refused");
    };
    let joined = Joined::with("", stale).await?;
    let seen = joined.look("xds-fresh").await?;
    seen.warns(&["nobody has confirmed it", "connection refused"], "--only istiod")
}

#[tokio::test]
async fn what_envoy_cannot_load_is_named() -> Result<()> {
    let stops = |status: &mut Value| {
        status["relay"]["replaced"] =
            json!([{ "name": "demo.auth", "stops": true, "reason": "registry says 403" }]);
    };
    let joined = Joined::with("", stops).await?;
    let seen = joined.look("xds-whole").await?;
    seen.failed(&["demo.auth (nothing passes)", "registry says 403"], "address of the module")?;

    let lacks = |status: &mut Value| {
        status["relay"]["lacks"] = json!([{
            "place": "listener virtualInbound", "name": "istio.alpn", "type_url": "x.Alpn", "passes": true,
        }]);
    };
    let joined = Joined::with("", lacks).await?;
    let seen = joined.look("xds-whole").await?;
    seen.warns(&["istio.alpn in listener virtualInbound"], "envoy.binary")?;

    let joined = Joined::with("", |status| status["relay"]["unreadable"] = json!(2)).await?;
    joined.look("xds-whole").await?.warns(&["2 messages"], "between this machine and istiod")
}

#[tokio::test]
async fn configuration_that_is_not_kept_is_told() -> Result<()> {
    let full = |status: &mut Value| {
        status["relay"]["kept"]["trouble"] = json!("write log: no space left on device");
    };
    let joined = Joined::with("", full).await?;
    let seen = joined.look("last-good").await?;
    seen.warns(&["no space left", "reboot without istiod"], "df ")?;

    let joined = Joined::alone("")?;
    joined.look("last-good").await?.warns(&["nothing is kept"], "systemctl start")
}

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
