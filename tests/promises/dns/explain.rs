//! What a name resolves to can be asked, explained and listed, with an agent and without one, and
//! is counted.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    dig::{Dig, Transport},
    http1,
    mesh::{OUTSIDE, OUTSIDE_IP},
    wait::wait_for,
};
use http::Method;
use serde_json::Value;

use crate::rig::{Rig, said};

/// What a command says, and how it ends.
async fn told(rig: &Rig, words: &[&str]) -> Result<(String, Option<i32>)> {
    let words: Vec<_> = ["dns"].into_iter().chain(words.iter().copied()).collect();
    let output = rig.vm.hawser(&words).await?;
    Ok((said(&output), output.status.code()))
}

async fn as_json(rig: &Rig, words: &[&str]) -> Result<Value> {
    let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
    let (text, _) = told(rig, &words).await?;
    serde_json::from_str(&text).with_context(|| text)
}

fn has(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part} is not in:\n{text}");
    }
    Ok(())
}

/// Where the agent's own HTTP is.
fn status_port(rig: &Rig) -> Result<SocketAddr> {
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let listen = settings["status"]["listen"].as_str().context("no status port")?;
    Ok(listen.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn query_asks_the_agent_as_a_program_does_and_shows_the_answer() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;
    let (host, vip) = (rig.mesh.service.host(), rig.mesh.service.vip.ip().to_string());

    for way in [&[][..], &["--tcp"]] {
        let (text, code) = told(&rig, &[&["query", &host][..], way].concat()).await?;
        assert_eq!(code, Some(0), "{text}");
        has(&text, &["status     NOERROR (", &vip, "from       the mesh: ", " ms, "])?;
        has(&text, &[if way.is_empty() { "over UDP" } else { "over TCP" }])?;
    }
    let outside = as_json(&rig, &["query", OUTSIDE, "A"]).await?;
    assert_eq!(
        outside["answer"][0]["data"],
        std::net::Ipv4Addr::from(OUTSIDE_IP).to_string(),
        "{outside}"
    );
    assert_eq!(outside["status"], "NOERROR", "{outside}");
    let resolver = rig.mesh.outside.addr().to_string();
    let direct = as_json(&rig, &["query", OUTSIDE, "--server", &resolver]).await?;
    assert_eq!((&direct["server"], &direct["from"]), (&Value::from(resolver), &Value::Null));

    let (text, code) = told(&rig, &["query", "nobody.example"]).await?;
    has(&text, &["status     NXDOMAIN"])?;
    assert_eq!(code, Some(1), "{text}");
    let (text, code) = told(&rig, &["query", &host, "NOTYPE"]).await?;
    has(&text, &["expected a type as A, AAAA"])?;
    assert_eq!(code, Some(64), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_the_rule_the_entry_its_age_and_who_would_be_asked() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;
    let (host, vip) = (rig.mesh.service.host(), rig.mesh.service.vip.ip().to_string());

    let (text, code) = told(&rig, &["explain", "hello.demo"]).await?;
    assert_eq!(code, Some(0), "{text}");
    has(&text, &["NOERROR, from the mesh: ", &vip, "hello.demo is another name of a host"])?;
    has(&text, &[&format!("entry      {host} (Kubernetes)"), "hosts, from istiod "])?;
    let (text, _) = told(&rig, &["explain", &vip]).await?;
    has(&text, &[" PTR\n", &format!("it is the address of {host}")])?;
    let told_as_json = as_json(&rig, &["explain", &host, "AAAA"]).await?;
    let answers = [("rule", "host"), ("does", "answers"), ("code", "NOERROR")];
    for (field, value) in answers {
        assert_eq!(told_as_json[field], value, "{told_as_json}");
    }

    let (text, code) = told(&rig, &["explain", OUTSIDE]).await?;
    assert_eq!(code, Some(0), "{text}");
    let resolver = rig.mesh.outside.addr();
    has(&text, &["the mesh does not know it", &format!("resolvers  {resolver} ")])?;
    has(&text, &[&format!("`hawser dns query {OUTSIDE} A --server {resolver}` asks it")])?;
    let heard = rig.mesh.outside.heard();
    has(&text, &["cache      nothing is kept of it"])?;
    ensure!(heard.iter().all(|it| it.name.trim_end_matches('.') != OUTSIDE), "it was asked");
    let dns = rig.dns().await?;
    Dig::a(OUTSIDE).ask(dns).await?;
    let kept = as_json(&rig, &["explain", OUTSIDE]).await?;
    ensure!(kept["kept"].as_u64() > Some(0), "{kept}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_explain_goes_by_the_names_that_it_kept() -> Result<()> {
    let rig = Rig::joined().await?;
    let (text, code) = told(&rig, &["explain", "hello.demo"]).await?;
    has(&text, &["no answer at ", "is it running?"])?;
    assert_eq!(code, Some(3), "{text}");
    let mut agent = rig.vm.start().await?;
    rig.names_known().await?;
    agent.terminate().await?;

    let (text, code) = told(&rig, &["explain", "hello.demo"]).await?;

    assert_eq!(code, Some(0), "{text}");
    let vip = rig.mesh.service.vip.ip().to_string();
    has(&text, &["told by the names that it kept", &vip, "kept; istiod said so "])?;
    for command in ["table", "query hello.demo"] {
        let words: Vec<_> = command.split(' ').collect();
        let (text, code) = told(&rig, &words).await?;
        has(&text, &["hawser: no answer "])?;
        assert_eq!(code, Some(3), "{text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn table_lists_what_is_answered_and_what_a_filter_leaves_of_it() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;
    let host = rig.mesh.service.host();

    for filter in [None, Some("HELLO"), Some(".svc.cluster.local")] {
        let words: Vec<_> = ["table"].into_iter().chain(filter).collect();
        let (text, code) = told(&rig, &words).await?;
        assert_eq!(code, Some(0), "{text}");
        has(&text, &[&host, &rig.mesh.service.vip.ip().to_string(), "also ", " hosts"])?;
    }
    let rows = as_json(&rig, &["table", &rig.mesh.service.vip.ip().to_string()]).await?;
    assert_eq!(rows[0]["host"], host, "{rows}");
    let (text, code) = told(&rig, &["table", "nothing like it"]).await?;
    has(&text, &["no name of the mesh is like that"])?;
    assert_eq!(code, Some(1), "{text}");
    let none = as_json(&rig, &["table", "nothing like it"]).await?;
    assert_eq!(none, Value::Array(Vec::new()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_shown_to_tools_of_istio_and_what_was_answered_is_counted() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;
    let (dns, port, host) = (rig.dns().await?, status_port(&rig)?, rig.mesh.service.host());
    let page = async |path: &'static str| http1::call(port, &Method::GET, path, &[]).await;

    let shown: Value = page("/debug/ndsz").await?.json()?;
    let entry = &shown["table"][&host];
    assert_eq!(entry["registry"], "Kubernetes", "{shown}");
    assert_eq!((&entry["shortname"], &entry["namespace"]), (&"hello".into(), &"demo".into()));
    for alternate in ["hello.demo.", "hello.demo.svc.", &format!("{host}.")] {
        let alternate = &shown["table"][alternate];
        assert_eq!(
            (&alternate["ips"], &alternate["registry"]),
            (&entry["ips"], &entry["registry"])
        );
        ensure!(alternate.get("shortname").is_none(), "{shown}");
    }

    for transport in [Transport::Udp, Transport::Tcp] {
        Dig::a(&host).by(transport).ask(dns).await?;
    }
    Dig::a(OUTSIDE).ask(dns).await?;
    wait_for("the counts", async || {
        let text = page("/stats/prometheus").await?.body;
        let labels = |source: &str, proto: &str| {
            let rest = format!("proto=\"{proto}\",qtype=\"A\",rcode=\"NOERROR\"");
            format!("hawser_dns_answers_total{{{rest},source=\"{source}\"}} 1\n")
        };
        let resolver = rig.mesh.outside.addr();
        has(
            &text,
            &[
                "istio_agent_dns_requests_total 3\n",
                "istio_agent_dns_upstream_requests_total 1\n",
                "istio_agent_dns_upstream_failures_total 0\n",
                "istio_agent_dns_upstream_request_duration_seconds_bucket{le=\"0.001\"} ",
                "istio_agent_dns_upstream_request_duration_seconds_count 1\n",
                &labels("table", "udp"),
                &labels("table", "tcp"),
                &labels("upstream", "udp"),
                "hawser_dns_answer_duration_seconds_count 1\n",
                "hawser_dns_table_stale 0\n",
                &format!("hawser_dns_resolver_up{{resolver=\"{resolver}\"}} 1\n"),
                &format!("hawser_dns_resolver_answered_total{{resolver=\"{resolver}\"}} 1\n"),
            ],
        )
    })
    .await?;
    let status = &rig.status().await?["dns"];
    assert_eq!((&status["answered"], &status["upstream"]), (&2.into(), &1.into()), "{status}");
    assert_eq!(status["resolvers"][0]["state"], "good", "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_table_there_is_nothing_to_show_and_that_is_said() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.mesh.istiod.reach(hawser_harness::istiod::Reach::Down).await?;
    let _agent = rig.vm.spawn(&[], &[])?;
    wait_for("the DNS address", async || rig.dns().await).await?;

    let reply = http1::call(status_port(&rig)?, &Method::GET, "/debug/ndsz", &[]).await?;

    assert_eq!((reply.status, reply.body.as_str()), (404, "{}"));
    let (text, code) = told(&rig, &["table"]).await?;
    has(&text, &["there are no names of the mesh yet"])?;
    assert_eq!(code, Some(1), "{text}");
    let (text, code) = told(&rig, &["explain", "hello.demo"]).await?;
    has(
        &text,
        &["nothing is known of the mesh yet; `hawser status` says why", "table      none yet"],
    )?;
    assert_eq!(code, Some(0), "{text}");
    Ok(())
}
