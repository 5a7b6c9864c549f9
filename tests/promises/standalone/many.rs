//! Five thousand services in the file: how long a start takes, an edit, and what it costs.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    eastwest::{Member, Speaks},
    wait::wait_for,
};
use tokio::time::Instant;

use super::Machine;
use crate::pushes::memory::{self, Memory};

/// Beside those that are there.
const MANY: usize = 5_000;
/// As many as there may be.
const MOST: usize = 20_000;
/// Every so many of them speaks TCP, and has an address of its own.
const TCP: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_services_are_started_with_edited_and_started_with_again() -> Result<()> {
    let mut machine = Machine::new().await?;
    let [one, two, _] = machine.range.split('.').collect::<Vec<_>>()[..3] else {
        anyhow::bail!("another range: {}", machine.range)
    };
    machine.it.range = format!("{one}.{two}.0.0/16");
    let text = text(&machine)?;
    machine.write(&text)?;

    let began = Instant::now();
    let mut agent = machine.vm.start().await?;
    let ready = began.elapsed();
    machine.answers("reviews").await.with_context(|| agent.tail())?;
    let first = began.elapsed();
    let all = wait_for("every cluster in Envoy", async || {
        let stats = machine.envoy("/stats?filter=cluster_manager.active_clusters").await?;
        let clusters: usize = stats.trim().rsplit_once(' ').context("no number")?.1.parse()?;
        ensure!(clusters > MANY, "{clusters} clusters");
        ensure!(machine.echo("store", b"hello").await? == b"hello");
        Ok(clusters)
    })
    .await?;
    let whole = began.elapsed();
    let envoy = machine.vm.status().await?.envoy.pid.context("no Envoy")?;
    let [of_agent, of_envoy] = [memory(agent.pid())?, memory(envoy)?];
    told(&format!(
        "{MANY} services, {} KiB of text: ready after {ready:.1?}, the first answer after \
         {first:.1?}, {all} clusters after {whole:.1?}; agent {of_agent} MiB, Envoy {of_envoy} MiB",
        text.len() / 1024,
    ));

    let timeout = text.replacen("    protocol: http\n", "    protocol: http\n    timeout: 9s\n", 1);
    let added = Member::new("added", "prod", 9080, Speaks::Http);
    machine.it.eastwest.change(|members| members.push(added)).await?;
    machine.it.assign()?;
    let added = machine.entry(machine.eastwest.member("added")?)?;
    let began = Instant::now();
    machine.write(&timeout.replacen("services:\n", &format!("services:\n{added}"), 1))?;
    machine.answers("added").await?;
    told(&format!("one service more answers after {:.1?}", began.elapsed()));
    // More than all clusters at once an edit cannot change.
    machine.write(&text.replace("    protocol:", "    connect_timeout: 9s\n    protocol:"))?;
    wait_for("every cluster to be another", async || {
        let stats = machine.envoy("/stats?filter=cluster_manager.cluster_modified").await?;
        let other: usize = stats.trim().rsplit_once(' ').context("no number")?.1.parse()?;
        ensure!(other >= MANY, "{other} clusters");
        Ok(())
    })
    .await?;
    let (peak, most) = (Memory::own_peak(agent.pid())?, memory::of_the_unit()?);
    told(&format!("most memory of its own: {peak:?}"));
    ensure!(peak.times(MOST / MANY) <= most, "{peak:?}: {MOST} need more than {most:?}");
    ensure!(machine.echo("store", b"hello").await? == b"hello");

    let place = machine.place("store").await?;
    agent.terminate().await?;
    let began = Instant::now();
    let agent = machine.vm.start().await?;
    machine.answers("reviews").await.with_context(|| agent.tail())?;
    told(&format!("started anew, the first answer after {:.1?}", began.elapsed()));
    ensure!(machine.place("store").await? == place, "it has another address");
    Ok(())
}

fn text(machine: &Machine) -> Result<String> {
    let mut text = machine.text()?;
    let (http, tcp) = (machine.port("reviews")?, machine.port("store")?);
    for number in 0..MANY {
        let (port, local, protocol) = match number % TCP {
            0 => (5432, tcp, "tcp"),
            _ => (9080, http, "http"),
        };
        let host = format!("svc-{number}.ns-{}.svc.cluster.local", number % 50);
        writeln!(text, "  - host: {host}\n    port: {port}\n    local_port: {local}")?;
        writeln!(text, "    protocol: {protocol}\n    identity: ns/ns-{}/sa/svc", number % 50)?;
    }
    Ok(text)
}

/// What a process holds of the machine's memory, in MiB.
fn memory(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.context("no VmRSS")?.trim().trim_end_matches(" kB").trim();
    Ok(number.parse::<u64>()? / 1024)
}

/// A number for the reader: nothing depends on it.
fn told(line: &str) {
    hawser_harness::demo::print(format_args!("standalone: {line}"));
}
