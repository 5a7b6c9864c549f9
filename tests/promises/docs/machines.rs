//! Every command of a document is typed on a booted machine, one document after the other.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use hawser_harness::istiod::Reach;

use super::{
    blocks::{Document, Step, Typed},
    metrics,
};
use crate::{
    machine::{Machine, wait_for},
    package::{self, Joined, sidecar},
    vm::site::Site,
};

/// In the order in which a machine sees them: it comes, lives in a mesh, and goes.
const IN_A_MESH: [&str; 10] = [
    "install.md",
    "certificates.md",
    "dns.md",
    "interception.md",
    "envoy.md",
    "health.md",
    "metrics.md",
    "troubleshooting.md",
    "offline.md",
    "join-at-scale.md",
];
/// For a machine with Istio's own agent.
const MOVES_OVER: [&str; 1] = ["migrate.md"];

#[test]
fn what_is_typed_on_a_machine_of_a_mesh_does_what_the_documents_say() -> Result<()> {
    let mut site = Site::build("docs")?;
    site.start("hears.py", &[])?;
    let bring = format!("cp {} /root/; cp -r {} /root/bundle", site.package(), site.bundle());
    site.shell(&bring)?;
    let mut wrong = Vec::new();
    for name in IN_A_MESH {
        for step in Document::named(name)?.steps()? {
            let done = match step {
                Step::Typed(typed) => tried(site.machine()?, &typed)
                    .with_context(|| format!("packaging/docs/{name}:{}", typed.line)),
                Step::Settings(toml) => set(site.machine()?, &toml),
                Step::Direction(what) => directed(&mut site, &what).context(what),
            };
            wrong.extend(done.err().map(|error| format!("{error:#}")));
        }
        if name == "metrics.md" {
            let scrape = site.shell(SCRAPE).and_then(|scrape| metrics::of_a_machine(&scrape));
            wrong.extend(scrape.err().map(|error| format!("{error:#}")));
        }
    }
    ensure!(wrong.is_empty(), "{}\n\n{}", wrong.join("\n\n"), site.told());
    Ok(())
}

#[test]
fn what_is_typed_on_a_machine_that_moves_over_does_what_the_document_says() -> Result<()> {
    let deb = package::package("docs-sidecar")?;
    let theirs = sidecar::istio_sidecar("docs-istio-sidecar")?;
    let vm = Joined::boot("docs-sidecar", &[&deb, &theirs])?;
    sidecar::runs_istio(&vm.machine, &theirs)?;
    vm.machine.succeed(&["cp", deb.to_str().context("UTF-8")?, "/root/"])?;
    let mut wrong = Vec::new();
    for name in MOVES_OVER {
        for step in Document::named(name)?.steps()? {
            let Step::Typed(typed) = step else { bail!("nothing but commands is for here") };
            let done = tried(&vm.machine, &typed);
            let done = done.with_context(|| format!("packaging/docs/{name}:{}", typed.line));
            wrong.extend(done.err().map(|error| format!("{error:#}")));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

#[test]
fn no_document_is_left_out() -> Result<()> {
    let played: BTreeSet<_> =
        IN_A_MESH.iter().chain(&MOVES_OVER).map(|it| (*it).to_owned()).collect();
    let all: BTreeSet<_> = Document::all()?.into_iter().map(|document| document.name).collect();

    assert_eq!(played, all);
    Ok(())
}

/// As an operator does: who sees something else looks again a little later.
fn tried(machine: &Machine, typed: &Typed) -> Result<()> {
    let script = format!("{SHELL}{}", typed.command);
    wait_for(&typed.command, PATIENCE, || {
        let output = machine.run(&["bash", "-c", &script])?;
        let printed = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let ended = output.status.code();
        ensure!(ended == Some(typed.exit), "ended with {ended:?}:\n{printed}");
        if let Some(line) = typed.missing(&printed) {
            bail!("no {line:?} in:\n{printed}");
        }
        Ok(Some(()))
    })
}

/// As with an editor.
fn set(machine: &Machine, toml: &str) -> Result<()> {
    let script = format!("cat >/etc/hawser/hawser.toml <<'END'\n{toml}END\n");
    machine.succeed(&["sh", "-c", &script]).map(drop)
}

/// What happens to a machine without anybody typing.
fn directed(site: &mut Site, what: &str) -> Result<()> {
    match what {
        "the machine has joined" => {
            site.succeed(&["dpkg", "-i", &site.package()])?;
            site.succeed(&["hawser", "join", &site.bundle()]).with_context(|| site.told())?;
            site.comes("the whole machine", &["systemctl", "start", "hawser.target"])?;
            site.talks_both_ways()
        }
        "istiod goes away" => {
            let down = site.mesh.istiod.reach(Reach::Down);
            site.runtime.block_on(down)?;
            Ok(())
        }
        "istiod is back" => {
            let up = site.mesh.istiod.reach(Reach::Up);
            site.runtime.block_on(up)?;
            Ok(())
        }
        "the machine is booted anew" => {
            site.reboot()?;
            site.start("hears.py", &[])
        }
        other => bail!("nobody knows how to direct {other:?}"),
    }
}

/// Who sits there is root, at home.
const SHELL: &str = "cd /root; export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:$PATH; ";
const SCRAPE: &str = "curl --silent http://127.0.0.1:15020/stats/prometheus";
const PATIENCE: Duration = Duration::from_secs(30);
