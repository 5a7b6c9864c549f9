//! Every command of a document is typed on a booted machine, one document after the other.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use hawser_harness::{
    eastwest::{EastWest, Member, Speaks},
    istiod::Reach,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    blocks::{Document, Step, Typed},
    metrics,
};
use crate::{
    machine::{Machine, wait_for},
    package::{self, Joined, sidecar},
    vm::site::{CLOUD, Site},
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
/// For a machine without istiod.
const STANDALONE: &str = "standalone.md";

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
fn what_is_typed_on_a_machine_without_istiod_does_what_the_document_says() -> Result<()> {
    let mut site = Site::build("docs-standalone")?;
    site.succeed(&["dpkg", "-i", &site.package()])?;
    let mut outside = Outside::start(&site)?;
    let mut wrong = Vec::new();
    for step in Document::named(STANDALONE)?.steps()? {
        let done = match step {
            Step::Typed(typed) => tried(site.machine()?, &typed)
                .with_context(|| format!("packaging/docs/{STANDALONE}:{}", typed.line)),
            Step::Settings(toml) => set(site.machine()?, &toml),
            Step::Direction(what) => outside.directed(&mut site, &what).context(what),
        };
        wrong.extend(done.err().map(|error| format!("{error:#}")));
    }
    ensure!(wrong.is_empty(), "{}\n\n{}", wrong.join("\n\n"), site.told());
    Ok(())
}

/// A gateway into the mesh, at an address that the machine reaches.
struct Outside {
    gateway: EastWest,
    place: SocketAddr,
    _passing: JoinSet<()>,
}

impl Outside {
    fn start(site: &Site) -> Result<Self> {
        let hello = Member::new("hello", "demo", 8080, Speaks::Http);
        let ca = site.mesh.istiod.ca();
        let dir = site.dir().join("gateway");
        let gateway = site.runtime.block_on(EastWest::start(ca, &dir, &[hello], 1))?;
        let to = gateway.address()?;
        let listener = site.runtime.block_on(TcpListener::bind((CLOUD, 0)))?;
        let place = listener.local_addr()?;
        let _context = site.runtime.enter();
        let mut passing = JoinSet::new();
        passing.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                calls.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(to).await {
                        drop(copy_bidirectional(&mut from, &mut to).await);
                    }
                });
            }
        });
        Ok(Self { gateway, place, _passing: passing })
    }

    fn directed(&mut self, site: &mut Site, what: &str) -> Result<()> {
        match what {
            "a certificate and a gateway are there" => {
                let day = Duration::from_secs(86_400);
                let ca = site.mesh.istiod.ca();
                let pair = ca.workload(&site.mesh.identity(), day)?;
                let roots = ca.root_pem();
                for (name, text) in
                    [("key", &pair.key), ("cert-chain", &pair.chain), ("root-cert", &roots)]
                {
                    let file = format!("/etc/certs/{name}.pem");
                    site.shell(&format!(
                        "mkdir -p /etc/certs; umask 077; cat >{file} <<'END'\n{text}END\nchown istio-proxy {file}"
                    ))?;
                }
                ensure!(self.gateway.gateways().len() == 1, "no gateway");
                Ok(())
            }
            "the file of services is there" => {
                let blocks = Document::named(STANDALONE)?.blocks()?;
                let mut files = blocks.iter().filter(|block| block.text.starts_with("gateways:"));
                let file = files.next().context("no file in the document")?;
                let text = file.text.replace("gw1.example.com:15443", &self.place.to_string());
                let script = format!("cat >/etc/hawser/services.yaml <<'END'\n{text}END\n");
                site.shell(&script).map(drop)
            }
            other => bail!("nobody knows how to direct {other:?}"),
        }
    }
}

#[test]
fn no_document_is_left_out() -> Result<()> {
    let played: BTreeSet<_> = { IN_A_MESH.iter() }
        .chain(&MOVES_OVER)
        .chain([&STANDALONE])
        .map(|it| (*it).to_owned())
        .collect();
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
