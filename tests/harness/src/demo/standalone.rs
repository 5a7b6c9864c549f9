//! The demonstration without istiod: a file and a certificate bring a machine into a mesh, through
//! gateways that look at nothing but names and protocols.

use anyhow::{Context, Result, bail, ensure};
use tokio_util::sync::CancellationToken;

use super::{Afterwards, Options, Steps, print, resolved, stop};
use crate::agent::Agent;
use crate::eastwest::{Member, Shows};
use crate::envoy::VERSION;
use crate::mesh::{OUTSIDE, OUTSIDE_IP};
use crate::standalone::{Standalone, members};
use crate::vm::Status;
use crate::wait::wait_for;
use crate::workload::Answer;

/// What the demonstration writes into the file to break it: the port is none.
const WRONG: &str = "gateways:\n  - 127.0.0.1:70000\n";

pub(super) async fn run(options: &Options, interrupt: &CancellationToken) -> Result<()> {
    let mut steps = Steps::new();
    let (machine, mut agent, status) = tokio::select! {
        up = come_up(options, &mut steps) => up?,
        () = interrupt.cancelled() => bail!("interrupted"),
    };
    if options.afterwards == Afterwards::Keep {
        tell(&machine).await?;
        interrupt.cancelled().await;
        steps.resume();
    }
    stop(&mut agent, &machine.vm, &status).await?;
    steps.tick("clean stop: agent, Envoy and their sockets are gone");
    steps.end();
    Ok(())
}

async fn come_up(options: &Options, steps: &mut Steps) -> Result<(Standalone, Agent, Status)> {
    let root = options.dir.join("root");
    ensure!(!root.exists(), "{} is from another time: remove it first", root.display());
    // Each request has a handshake of its own, so that each shows who answers.
    let members = members().into_iter().map(|member| Member { brief: true, ..member });
    let members: Vec<_> = members.collect();
    let mut machine = Standalone::new(&options.hawser, &options.dir, &members, 2).await?;
    steps.tick(format_args!("two east-west gateways are up, three workloads (Envoy {VERSION})"));
    let checked = machine.vm.hawser(&["check"]).await?;
    let said = String::from_utf8_lossy(&checked.stdout);
    ensure!(checked.status.success(), "hawser check: {said}");
    steps.tick(format_args!("a certificate, and {}; no istiod", machine.file().display()));
    let mut agent = machine.vm.start().await?;
    steps.tick(format_args!("agent is ready (pid {})", agent.pid()));
    let shown = show(&mut machine, steps).await;
    shown.with_context(|| format!("the agent's log ends:\n{}", agent.tail()))?;

    let store = machine.place("store").await?;
    agent.terminate().await?;
    let agent = machine.vm.start().await?;
    machine.answers("reviews").await?;
    ensure!(machine.place("store").await? == store, "store has another address");
    steps.tick("agent and Envoy were started anew, every name has its address of before");
    let status = machine.vm.status().await?;
    Ok((machine, agent, status))
}

async fn show(machine: &mut Standalone, steps: &mut Steps) -> Result<()> {
    calls(machine, steps).await?;
    strangers(machine, steps).await?;
    machine.write(WRONG)?;
    let checked = machine.vm.hawser(&["check"]).await?;
    ensure!(checked.status.code() == Some(78), "hawser check takes a wrong file");
    machine.answers("reviews").await.context("with a wrong file")?;
    steps.tick("a wrong edit is told with its line, and changes nothing");
    machine.write(&machine.text()?)?;
    machine.eastwest.gateway(0)?.stop().await?;
    machine.answers("reviews").await.context("through the second gateway")?;
    steps.tick("the first gateway was killed, requests go through the second");
    machine.eastwest.gateway(0)?.again().await
}

async fn calls(machine: &Standalone, steps: &mut Steps) -> Result<()> {
    let answer: Answer = machine.answers("reviews").await?.json()?;
    let member = machine.eastwest.member("reviews")?;
    ensure!(answer.caller == machine.identity(), "the workload saw {}", answer.caller);
    ensure!(answer.workload == member.identity(), "it was {}", answer.workload);
    let (host, place) = (member.host(), machine.place("reviews").await?);
    let dns = machine.dns().await?;
    resolved(dns, &host, place.ip()).await?;
    steps.tick(format_args!("{host} is {}, over UDP and TCP", place.ip()));
    print(format_args!("               asked for   {}", member.sni()));
    print(format_args!("               it saw      {}", answer.caller));
    print(format_args!("               it is       {}", answer.workload));
    let found = machine.find("cart", "lamp").await.context("a gRPC call")?;
    ensure!(found.caller == machine.identity(), "the gRPC service saw {}", found.caller);
    let octets = b"octets";
    ensure!(machine.echo("store", octets).await? == octets, "other octets came back");
    steps.tick("gRPC and TCP go the same way");
    resolved(dns, OUTSIDE, OUTSIDE_IP.into()).await?;
    steps.tick(format_args!("{OUTSIDE} resolves too"));
    Ok(())
}

/// Who is not who they should be: another service account, another service.
async fn strangers(machine: &mut Standalone, steps: &mut Steps) -> Result<()> {
    let other = Shows::Of("other".to_owned());
    machine.eastwest.change_one("reviews", |member| member.shows = other).await?;
    fails(machine).await?;
    machine.eastwest.change_one("reviews", |member| member.shows = Shows::Its).await?;
    machine.answers("reviews").await?;
    steps.tick("a workload with another's certificate was not spoken to");
    let text = machine.text()?;
    machine.write(&text.replacen("    port: 9080\n", "    port: 9081\n", 1))?;
    fails(machine).await?;
    let gateway = machine.eastwest.gateways().first().context("no gateway")?;
    wait_for("the gateway to close what it does not know", async || {
        let passed = gateway.passed()?;
        let closed = passed.iter().find(|one| one.flags.as_deref() == Some("NR"));
        closed.map(|_| ()).with_context(|| format!("{passed:?}"))
    })
    .await?;
    machine.write(&text)?;
    machine.answers("reviews").await?;
    steps.tick("a port that the gateway does not know was closed by it; the file was mended");
    Ok(())
}

async fn fails(machine: &Standalone) -> Result<()> {
    wait_for("a refusal", async || {
        let reply = machine.get("reviews", "/").await?;
        ensure!(reply.status == 503, "{} {}", reply.status, reply.body);
        Ok(())
    })
    .await
}

/// Tells what to try.
async fn tell(machine: &Standalone) -> Result<()> {
    let (dns, place) = (machine.dns().await?, machine.place("reviews").await?);
    let host = machine.eastwest.member("reviews")?.host();
    let (hawser, root) = (machine.vm.binary().display(), machine.vm.root().display());
    print(format_args!("\n  It stays up. Try:"));
    print(format_args!("    {hawser} status --root {root}"));
    print(format_args!("    {hawser} services show --root {root}"));
    print(format_args!("    {hawser} doctor --root {root}"));
    print(format_args!("    dig @{} -p {} {host}", dns.ip(), dns.port()));
    let port = place.port();
    print(format_args!("    curl -i --resolve {host}:{port}:{} http://{host}:{port}/", place.ip()));
    print(format_args!("    $EDITOR {}", machine.file().display()));
    print("\n  Ctrl-C stops it.\n");
    Ok(())
}
