//! Whoever is not who they should be is not spoken to, and neither are we: each with the reason that
//! a program sees, and nobody else disturbed.

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    ca::{Shape, TestCa, spiffe_id},
    eastwest::{Member, Shows, Speaks},
    standalone::{CERTIFICATES, members},
    wait::wait_for,
    workload::Answer,
};

use super::Machine;

/// Each request needs another handshake.
fn brief() -> Vec<Member> {
    members().into_iter().map(|member| Member { brief: true, ..member }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_not_the_one_that_was_meant_hears_nothing() -> Result<()> {
    let mut machine = Machine::with(&brief(), 1).await?;
    let _agent = machine.serving().await?;

    for shows in [Shows::Of("other".to_owned()), Shows::Strangers, Shows::Ended] {
        let change = |member: &mut Member| member.shows = shows.clone();
        machine.it.eastwest.change_one("reviews", change).await?;
        machine.it.eastwest.change_one("store", change).await?;
        let requests = machine.requests("reviews")?;
        let refused = machine.unverified("reviews").await;
        refused.with_context(|| format!("{shows:?}"))?;
        let octets = machine.echo("store", b"hello").await;
        ensure!(octets.is_err(), "{shows:?}: {octets:?}");
        ensure!(machine.requests("reviews")? == requests, "{shows:?}: it was asked");
        machine.find("cart", "lamp").await.context("another service")?;
    }

    for name in ["reviews", "store"] {
        machine.it.eastwest.change_one(name, |member| member.shows = Shows::Its).await?;
    }
    machine.answers("reviews").await?;
    ensure!(machine.echo("store", b"hello").await? == b"hello");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_identities_is_enough() -> Result<()> {
    let mut machine = Machine::with(&brief(), 1).await?;
    let one = "    identity: ns/prod/sa/reviews\n";
    let several =
        "    identity: [ns/prod/sa/elsewhere, \"spiffe://cluster.local/ns/prod/sa/new\"]\n";
    machine.it.eastwest.change_one("reviews", |one| one.shows = Shows::Of("new".into())).await?;
    let _agent = machine.vm.start().await?;
    machine.unverified("reviews").await?;

    machine.write(&machine.text()?.replace(one, several))?;

    let answer: Answer = machine.answers("reviews").await?.json()?;
    ensure!(answer.workload == spiffe_id("prod", "new"), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_does_not_name_this_machine_refuses_it_and_it_is_told_so() -> Result<()> {
    let mut machine = Machine::with(&brief(), 1).await?;
    let _agent = machine.serving().await?;
    let others = Some(vec![spiffe_id("vms", "other")]);

    for name in ["reviews", "cart", "store"] {
        let change = |member: &mut Member| member.callers.clone_from(&others);
        machine.it.eastwest.change_one(name, change).await?;
    }

    machine.fails("reviews", 403, "RBAC: access denied").await?;
    let refused = machine.find("cart", "lamp").await.err().context("it was let in")?;
    ensure!(format!("{refused:#}").contains("RBAC: access denied"), "{refused:#}");
    ensure!(machine.echo("store", b"hello").await.is_err(), "it was let in");
    let refused = wait_for("the far end's log", async || {
        let seen = machine.eastwest.seen()?;
        seen.into_iter().find(|one| one.code == 403).context("nothing seen")
    });
    let refused = refused.await?;
    ensure!(refused.caller == Some(machine.identity()), "{refused:?}");

    let me = Some(vec![machine.identity()]);
    machine.it.eastwest.change_one("reviews", |member| member.callers = me).await?;
    machine.answers("reviews").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_does_not_know_is_closed_and_nothing_else() -> Result<()> {
    let mut machine = Machine::new().await?;
    let unknown = Member::new("ratings", "prod", 9080, Speaks::Http);
    let port = machine.port("reviews")?;
    machine.it.ports.insert(unknown.name.clone(), port);
    machine.write(&(machine.text()? + &machine.entry(&unknown)?))?;
    let agent = machine.serving().await?;

    let address = machine.address(&unknown.host()).await?;
    let host = format!("{}:{port}", unknown.host());
    let place = (address, port).into();
    let header = [("host", host.as_str())];
    let reply = hawser_harness::http1::call(place, &http::Method::GET, "/", &header).await?;
    ensure!(reply.status == 503, "{} {}", reply.status, reply.body);

    wait_for("the gateway's log", async || {
        let passed = machine.eastwest.gateways()[0].passed()?;
        let closed = passed.iter().find(|one| one.sni == Some(unknown.sni()));
        let closed = closed.with_context(|| format!("{passed:?} {}", agent.tail()))?;
        ensure!(closed.flags.as_deref() == Some("NR"), "{closed:?}");
        Ok(())
    })
    .await?;
    machine.answers("reviews").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_another_mesh_is_let_in_nowhere_until_its_certificate_is_of_this_one()
-> Result<()> {
    let machine = Machine::with(&brief(), 1).await?;
    let other = TestCa::new(Shape::SelfSigned)?;
    let pair = other.workload(&machine.identity(), std::time::Duration::from_secs(3600))?;
    machine.vm.provision_roots(CERTIFICATES, &other.root_pem())?;
    machine.vm.provision(CERTIFICATES, &pair)?;
    let _agent = machine.vm.start().await?;
    machine.unverified("reviews").await?;
    ensure!(machine.requests("reviews")? == 0, "it was let in");

    machine.certify(std::time::Duration::from_secs(3600))?;

    machine.answers("reviews").await?;
    Ok(())
}
