//! `pilot-agent istio-iptables`, in a network of its own.

use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result, ensure};

use super::host::Host;
use crate::{HAWSER, rig::said};

#[test]
fn istio_iptables_loads_our_rules_checks_and_removes_them() -> Result<()> {
    let host = Host::new("mode = \"redirect\"")?;
    let before = host.everything()?;
    let root = host.root();
    let link = format!("{root}/pilot-agent");
    symlink(HAWSER, &link).context("link the program")?;
    let pilot = |arguments: &[&str]| {
        let root = format!("HAWSER_ROOT={root}");
        host.run(&[&["env", &root, &link, "istio-iptables"], arguments].concat())
    };
    let _agent = host.agent()?;
    let _envoy = host.envoy()?;
    ensure!(host.reaches()? == "past");

    // Nothing is loaded: that is what a validation finds.
    let output = pilot(&["--run-validation", "--skip-rule-apply"])?;
    assert_eq!(output.status.code(), Some(126), "{}", said(&output));
    let output = pilot(&["--run-validation", "-b", "*", "-i", "*"])?;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    ensure!(host.reaches()? == "envoy");
    let output = pilot(&["-i", "10.9.0.0/16"])?;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    ensure!(host.reaches()? == "past", "a flag is a setting");

    let output = pilot(&["--cleanup-only", "--dry-run"])?;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = pilot(&["--cleanup-only"])?;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    ensure!(host.everything()? == before, "{}", host.everything()?);

    // Where the guard looks after them, flags would not last.
    let guard = host.guard()?;
    host.phase("redirecting")?;
    let output = pilot(&["-i", "10.9.0.0/16"])?;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    ensure!(said(&output).contains("hawser-intercept.service looks after"), "{}", said(&output));
    assert_eq!(pilot(&[])?.status.code(), Some(0));
    guard.stop()
}
