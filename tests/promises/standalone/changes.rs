//! What changes under way: the file, the certificate, the agent itself.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    ca::{Certified, OldRoot, Root},
    eastwest::{Member, Speaks},
    standalone::members,
    traffic::Traffic,
    wait::wait_for,
};

use super::Machine;
use crate::rig::said;

const HOUR: Duration = Duration::from_secs(3600);

/// A file in which two things are wrong.
const WRONG: &str =
    "gateways:\n  - 127.0.0.1:70000\nservices:\n  - host: reviews.prod\n    prot: 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_edited_and_the_certificate_rotated_under_load_without_a_failed_request()
-> Result<()> {
    let members = members().into_iter().map(|member| Member { brief: true, ..member });
    let mut machine = Machine::with(&members.collect::<Vec<_>>(), 1).await?;
    let agent = machine.serving().await?;
    let traffic = Traffic::start(&machine.service("reviews").await?, 4);
    let more = async || {
        let from = traffic.so_far().ok;
        traffic.until("more answers", |served| served.ok >= from + 50 || served.failed > 0).await
    };
    more().await?;

    for round in 0..5_u16 {
        let added = Member::new(&format!("added-{round}"), "prod", 9080, Speaks::Http);
        machine.it.eastwest.change(|members| members.push(added.clone())).await?;
        machine.it.assign()?;
        let timeout = format!("    timeout: {}s\n    protocol", 10 + round);
        machine
            .write(&machine.text()?.replace("    protocol: http", &format!("{timeout}: http")))?;
        machine.answers(&added.name).await.with_context(|| agent.tail())?;
        machine.certify(HOUR)?;
        let serials = traffic.so_far().serials;
        let other = |served: &hawser_harness::traffic::Served| {
            served.serials.difference(&serials).next().is_some() || served.failed > 0
        };
        traffic.until("requests with the new certificate", other).await?;
        machine.write(WRONG)?;
        more().await?;
    }

    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{served:?}");
    ensure!(served.serials.len() >= 6, "{:?}", served.serials);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roots_of_the_mesh_are_rotated_step_by_step_without_a_failed_request() -> Result<()> {
    let members = members().into_iter().map(|member| Member { brief: true, ..member });
    let mut machine = Machine::with(&members.collect::<Vec<_>>(), 1).await?;
    let _agent = machine.serving().await?;
    let traffic = Traffic::start(&machine.service("reviews").await?, 2);
    let other = async |what: &str| {
        let serials = traffic.so_far().serials;
        let other = |served: &hawser_harness::traffic::Served| {
            served.serials.difference(&serials).next().is_some() || served.failed > 0
        };
        traffic.until(what, other).await
    };

    traffic.until("a request", |served| served.ok > 0).await?;

    let root = machine.ca.prepare()?;
    machine.ca.announce();
    machine.it.eastwest.rotate().await?;
    machine.certify(HOUR)?;
    other("requests with both roots").await?;
    let root = Certified { chain: root, key: String::new() }.serial()?;
    wait_for("the new root in Envoy", async || {
        ensure!(machine.envoy("/certs").await?.contains(&root), "it has the old one alone");
        Ok(())
    })
    .await?;
    machine.ca.sign_with(Root::Newest);
    machine.it.eastwest.rotate().await?;
    machine.certify(HOUR)?;
    other("requests signed by the new root").await?;
    machine.ca.forget_old();
    machine.it.eastwest.rotate().await?;
    machine.certify(HOUR)?;
    other("requests with the new root alone").await?;

    let served = traffic.stop().await?;
    ensure!(served.failed == 0, "{served:?} {:?}", machine.eastwest.seen()?);
    machine.ca.rotate(OldRoot::Dropped)?;
    machine.it.eastwest.rotate().await?;
    machine.unverified("reviews").await?;
    machine.certify(HOUR)?;
    machine.answers("reviews").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_changes_nothing_and_every_problem_is_told_with_its_line() -> Result<()> {
    let machine = Machine::new().await?;
    let agent = machine.serving().await?;
    let before = machine.resources().await?;
    let address = machine.place("store").await?;

    machine.write(WRONG)?;
    let problems = wait_for("the problems", async || {
        let problems = machine.status().await?["services"]["problems"].take();
        ensure!(problems.as_array().is_some_and(|all| !all.is_empty()), "{problems}");
        Ok(problems)
    })
    .await?;
    let told = problems.to_string();
    for line in ["services.yaml:2", "services.yaml:5"] {
        ensure!(told.contains(line), "{told}");
    }
    ensure!(told.contains("70000") && told.contains("prot"), "{told}");
    let checked = machine.vm.hawser(&["check"]).await?;
    ensure!(checked.status.code() == Some(78), "{}", said(&checked));
    for line in ["services.yaml:2", "services.yaml:5"] {
        ensure!(said(&checked).contains(line), "{}", said(&checked));
    }
    let log = fs::read_to_string(agent.log())?;
    ensure!(log.contains("services.yaml:2") && log.contains("services.yaml:5"), "{log}");
    machine.answers("reviews").await?;
    ensure!(machine.place("store").await? == address);
    ensure!(machine.resources().await? == before, "Envoy has been told something");

    machine.write(&machine.text()?)?;
    wait_for("no problems", async || {
        let problems = machine.status().await?["services"]["problems"].take();
        ensure!(problems.as_array().is_none_or(Vec::is_empty), "{problems}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_of_the_file_is_gone_and_the_rest_keeps_its_connections() -> Result<()> {
    let machine = Machine::new().await?;
    let _agent = machine.serving().await?;
    let store = machine.place("store").await?;
    let mut open = hawser_harness::http1::Open::to(machine.place("reviews").await?).await?;
    let host = machine.eastwest.member("reviews")?.host();
    ensure!(open.status("/first", &host).await? == 200);
    let [reviews, cart, _] = machine.eastwest.members() else { anyhow::bail!("other members") };

    let entries = machine.entry(reviews)? + &machine.entry(cart)?;
    machine.write(&format!("{}services:\n{entries}", machine.top()?))?;

    wait_for("the listener to be gone", async || {
        ensure!(tokio::net::TcpStream::connect(store).await.is_err(), "it still listens");
        Ok(())
    })
    .await?;
    ensure!(machine.place("store").await.is_err(), "the name is still there");
    ensure!(open.status("/second", &host).await? == 200, "the connection was closed");

    machine.write(&machine.text()?)?;
    wait_for("the service to be back", async || {
        ensure!(machine.echo("store", b"hello").await? == b"hello");
        Ok(())
    })
    .await?;
    ensure!(machine.place("store").await? == store, "it has another address");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_addresses_are_kept_over_restarts_and_a_bad_file_does_not_stop_a_start()
-> Result<()> {
    let machine = Machine::new().await?;
    let mut agent = machine.serving().await?;
    let places = [machine.place("reviews").await?, machine.place("store").await?];
    agent.terminate().await?;

    // Another order, and more in front, gives nobody another address.
    let first = Member::new("aaa", "prod", 1, Speaks::Tcp);
    let port = machine.port("store")?;
    let first = format!("  - host: {}\n    port: {port}\n    protocol: tcp\n", first.host());
    let first = first + "    identity: ns/prod/sa/aaa\n";
    machine.write(&machine.text()?.replace("services:\n", &format!("services:\n{first}")))?;
    let mut agent = machine.serving().await?;
    ensure!([machine.place("reviews").await?, machine.place("store").await?] == places);
    agent.terminate().await?;

    machine.write(WRONG)?;
    let agent = machine.serving().await.context("a start with a bad file")?;
    ensure!([machine.place("reviews").await?, machine.place("store").await?] == places);
    ensure!(machine.echo("store", b"hello").await? == b"hello");
    let problems = machine.status().await?["services"]["problems"].take();
    ensure!(problems.to_string().contains("services.yaml:5"), "{problems} {}", agent.tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_with_a_bad_file_is_none_and_tells_every_problem() -> Result<()> {
    let machine = Machine::new().await?;
    machine.write(WRONG)?;

    let mut agent = machine.vm.spawn(&[], &[])?;

    let status = agent.wait_exit(hawser_harness::wait::PATIENCE).await?;
    ensure!(status.code() == Some(78), "{status} {}", agent.tail());
    let log = fs::read_to_string(agent.log())?;
    ensure!(log.contains("services.yaml:2") && log.contains("services.yaml:5"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_fragments_is_one_file() -> Result<()> {
    let machine = Machine::new().await?;
    fs::remove_file(machine.file())?;
    let dir = machine.vm.root().join("etc/hawser/services.d");
    fs::create_dir_all(&dir)?;
    let settings = format!("{}\n[services]\nfile = {dir:?}\n", machine.vm.toml()?);
    machine.vm.settings(&settings)?;
    let put =
        |name: &str, text: &str| hawser_state::write_file(&dir.join(name), 0o644, text.as_bytes());
    put("10-gateways.yaml", &machine.top()?)?;
    for member in machine.eastwest.members() {
        let text = format!("services:\n{}", machine.entry(member)?);
        put(&format!("50-{}.yaml", member.name), &text)?;
    }

    let _agent = machine.serving().await?;
    ensure!(machine.find("cart", "lamp").await?.item == "lamp");
    fs::remove_file(dir.join("50-cart.yaml"))?;
    wait_for("a name to be gone", async || {
        ensure!(machine.place("cart").await.is_err(), "it is still there");
        Ok(())
    })
    .await?;
    machine.answers("reviews").await?;
    Ok(())
}
