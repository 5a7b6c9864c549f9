//! Services of the file beside those of istiod, and the way from the one to the other and back.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    eastwest::{Member, Speaks},
    istiod::Reach,
    mesh::Mesh,
    standalone::{Standalone, members},
    wait::wait_for,
    workload::Answer,
};
use http::Method;
use serde_json::Value;

use super::Machine;
use crate::{HAWSER, rig::said};

/// A machine with a file of services, and istiod in the same mesh.
struct Both {
    mesh: Mesh,
    machine: Machine,
}

impl Both {
    /// Not joined yet.
    async fn new(members: &[Member]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mesh = Mesh::start(dir.path()).await?;
        let place = (Path::new(HAWSER), dir.path());
        let it = Standalone::of(mesh.istiod.ca(), place, members, 1).await?;
        Ok(Self { mesh, machine: Machine { it, dir } })
    }

    /// The same, where the file has a service of istiod's too, which speaks otherwise.
    async fn at_odds() -> Result<Self> {
        let hello = Member::new("hello", "demo", 80, Speaks::Http);
        let both = Self::new(&[members(), vec![hello]].concat()).await?;
        both.machine.vm.join(&both.mesh.bundle_dir).await?;
        Ok(both)
    }

    /// The answer of istiod's own service.
    async fn hello(&self) -> Result<Answer> {
        let service = &self.mesh.service;
        let host = format!("{}:{}", service.host(), service.vip.port());
        wait_for("the service of istiod's", async || {
            let header = [("host", host.as_str())];
            let reply =
                hawser_harness::http1::call(service.vip, &Method::GET, "/", &header).await?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
            reply.json()
        })
        .await
    }

    /// Waits until names that both have are told.
    async fn conflicts(&self, agent: &Agent) -> Result<Value> {
        wait_for("the names that both have", async || {
            let conflicts = self.machine.status().await?["services"]["conflicts"].take();
            let any = conflicts.as_array().is_some_and(|all| !all.is_empty());
            ensure!(any, "{conflicts} {}", agent.tail());
            Ok(conflicts)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_the_file_and_of_istiod_work_side_by_side_whether_istiod_is_there_or_not()
-> Result<()> {
    let both = Both::new(&members()).await?;
    let machine = &both.machine;
    machine.vm.join(&both.mesh.bundle_dir).await?;
    let agent = machine.serving().await?;

    let answer = both.hello().await?;
    ensure!(answer.caller == machine.identity(), "{answer:?}");
    let answer: Answer = machine.get("reviews", "/").await?.json()?;
    ensure!(answer.caller == machine.identity(), "{answer:?}");
    ensure!(machine.find("cart", "lamp").await?.item == "lamp");
    ensure!(machine.echo("store", b"hello").await? == b"hello");
    let vip = machine.address(&both.mesh.service.host()).await?;
    ensure!(vip == both.mesh.service.vip.ip(), "{vip}");
    let conflicts = machine.status().await?["services"]["conflicts"].take();
    ensure!(conflicts.as_array().is_none_or(Vec::is_empty), "{conflicts}");

    // The file is edited while istiod is away, and what istiod said stays.
    both.mesh.istiod.reach(Reach::Down).await?;
    let store = machine.place("store").await?;
    let [reviews, cart, _] = machine.eastwest.members() else { anyhow::bail!("other members") };
    let entries = machine.entry(reviews)? + &machine.entry(cart)?;
    machine.write(&format!("{}services:\n{entries}", machine.top()?))?;
    wait_for("the listener to be gone", async || {
        ensure!(tokio::net::TcpStream::connect(store).await.is_err(), "{}", agent.tail());
        Ok(())
    })
    .await?;
    machine.answers("reviews").await?;
    both.hello().await?;
    let vip = machine.address(&both.mesh.service.host()).await?;
    ensure!(vip == both.mesh.service.vip.ip(), "{vip}");

    let streams = both.mesh.istiod.seen().streams.len();
    both.mesh.istiod.reach(Reach::Up).await?;
    both.mesh.istiod.until("a stream to istiod", |seen| seen.streams.len() > streams).await?;
    machine.write(&machine.text()?)?;
    wait_for("the service to be back", async || {
        ensure!(machine.echo("store", b"hello").await? == b"hello");
        Ok(())
    })
    .await?;
    both.hello().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_name_that_both_have_the_file_is_believed_and_it_is_said() -> Result<()> {
    let both = Both::at_odds().await?;
    let agent = both.machine.serving().await?;

    let conflicts = both.conflicts(&agent).await?.to_string();

    let host = both.mesh.service.host();
    ensure!(conflicts.contains(&host), "{conflicts}");
    let address = both.machine.address(&host).await?;
    ensure!(address != both.mesh.service.vip.ip(), "istiod was believed");
    let answer: Answer = both.machine.answers("hello").await?.json()?;
    ensure!(answer.workload.ends_with("/sa/hello"), "{answer:?}");
    wait_for("a request through the gateway", async || {
        ensure!(both.machine.requests("hello")? > 0, "it went another way");
        Ok(())
    })
    .await?;
    both.hello().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_name_that_both_have_istiod_is_believed_if_the_operator_says_so() -> Result<()> {
    let both = Both::at_odds().await?;
    let wins = ["--set", "services.wins=mesh"];
    let agent = both.machine.vm.start_with(&wins, &[]).await?;

    let conflicts = both.conflicts(&agent).await?.to_string();

    let host = both.mesh.service.host();
    ensure!(conflicts.contains(&host), "{conflicts}");
    let address = both.machine.address(&host).await?;
    ensure!(address == both.mesh.service.vip.ip(), "the file was believed");
    both.machine.answers("reviews").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_from_standalone_to_a_full_join_and_back_with_its_names_and_addresses()
-> Result<()> {
    let both = Both::new(&members()).await?;
    let machine = &both.machine;
    let hello = both.mesh.service.host();
    let mut agent = machine.serving().await?;
    let places = async || {
        anyhow::Ok([
            machine.place("reviews").await?,
            machine.place("cart").await?,
            machine.place("store").await?,
        ])
    };
    let first = places().await?;
    ensure!(machine.address(&hello).await.is_err(), "istiod's service is known already");
    agent.terminate().await?;
    let seen = both.mesh.istiod.seen();
    ensure!(seen.csrs.is_empty() && seen.asked.is_empty(), "istiod was asked: {seen:?}");

    machine.vm.join(&both.mesh.bundle_dir).await?;
    let mut agent = machine.serving().await.context("after the join")?;
    both.hello().await.with_context(|| agent.tail())?;
    ensure!(places().await? == first, "other addresses after the join");
    ensure!(machine.address(&hello).await? == both.mesh.service.vip.ip());
    ensure!(machine.echo("store", b"hello").await? == b"hello");
    agent.terminate().await?;

    let left = machine.vm.hawser(&["leave", "--yes"]).await?;
    ensure!(left.status.success(), "{}", said(&left));
    let asked = both.mesh.istiod.seen().asked.len();
    let agent = machine.serving().await.context("after it has left")?;
    ensure!(places().await? == first, "other addresses after leaving: {}", agent.tail());
    ensure!(machine.echo("store", b"hello").await? == b"hello");
    wait_for("istiod's service to be unknown", async || {
        ensure!(machine.address(&hello).await.is_err(), "it is still known");
        Ok(())
    })
    .await?;
    ensure!(both.mesh.istiod.seen().asked.len() == asked, "istiod was asked");
    Ok(())
}
