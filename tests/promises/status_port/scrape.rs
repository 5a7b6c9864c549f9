//! Metrics of all sources are one answer, whatever they do, and are nowhere whole.

use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use hawser_harness::agent::Agent;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::program::{Program, Said, Then};
use crate::{pushes::memory::Memory, rig::Rig};

const MB: usize = 1_000_000;
/// What a scrape may add to the memory of the agent.
const MOST_MEMORY: usize = 4 * MB;
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// As Prometheus says it.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
    application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// The agent with these programs.
async fn scraping(rig: &Rig, programs: &[&Program]) -> Result<Agent> {
    let targets: Vec<_> = programs
        .iter()
        .map(|program| json!({"port": program.port().to_string(), "path": "/metrics"}))
        .collect();
    let said = json!({"scrape": "true", "targets": targets}).to_string();
    rig.vm.start_with(&[], &[("ISTIO_PROMETHEUS_ANNOTATIONS", &said)]).await
}

/// The failures that were counted by now.
fn failures(metrics: &str, kind: &str) -> Result<u64> {
    let name = format!("istio_agent_scrape_failures_total{{type=\"{kind}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    Ok(value.with_context(|| format!("no {name} in:\n{metrics}"))?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_of_10_mb_passes_without_staying_in_memory() -> Result<()> {
    let rig = Rig::joined().await?;
    let body: String = (0..200_000)
        .map(|at| format!("app_requests_total{{path=\"/a/quite/long/path\",at=\"{at:07}\"}} 1\n"))
        .collect();
    ensure!(body.len() > 10 * MB, "{}", body.len());
    let much = body.clone();
    let program = Program::start(move |_| Said::whole("text/plain", much.clone())).await?;
    let agent = scraping(&rig, &[&program]).await?;
    // What is made at the first request stays.
    rig.says("/healthz/ready", &[]).await?;
    for packed in [false, true] {
        let idle = Memory::idle(agent.pid()).await?;
        let scraped = scraped(&rig, packed).await?;
        let grown = Memory::peak(agent.pid())?.over(idle);
        ensure!(scraped.ends_with(&body), "{} bytes, {packed}", scraped.len());
        ensure!(scraped.starts_with("# HELP "), "{packed}");
        ensure!(grown < MOST_MEMORY, "{grown} more, packed: {packed}\n{}", agent.tail());
    }
    Ok(())
}

/// All of it, to somebody who is in no hurry.
async fn scraped(rig: &Rig, packed: bool) -> Result<String> {
    let mut stream = TcpStream::connect(rig.port()?).await?;
    let accept = if packed { "gzip" } else { "identity" };
    // Without chunks, which older versions do not know.
    let asked = format!("GET /metrics HTTP/1.0\r\naccept-encoding: {accept}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await?;
    let end = said.windows(4).position(|four| four == b"\r\n\r\n").context("no head")?;
    let (head, body) = said.split_at(end + 4);
    let head = String::from_utf8(head.to_vec())?;
    ensure!(head.starts_with("HTTP/1.0 200"), "{head}");
    ensure!(head.contains("content-encoding: gzip") == packed, "{head}");
    let mut text = String::new();
    match packed {
        true => GzDecoder::new(body).read_to_string(&mut text)?,
        false => std::io::Read::read_to_string(&mut &*body, &mut text)?,
    };
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_dies_or_fails_breaks_nothing_of_the_others() -> Result<()> {
    let rig = Rig::joined().await?;
    let first = Program::start(|_| Said::whole("text/plain", "first 1")).await?;
    let hangs = Program::start(|_| Said::half("hangs 1\nhangs{a=\"", Then::Hangs)).await?;
    let dies = Program::start(|_| Said::half("dies 1\ndies_bucket{le=\"0.", Then::Ends)).await?;
    let fails = Program::start(|_| Said::status("500 Oh")).await?;
    let last = Program::start(|_| Said::whole("text/plain", "last 1\n# EOF\n")).await?;
    let agent = scraping(&rig, &[&first, &hangs, &dies, &fails, &last]).await?;

    let timeout = [("x-prometheus-scrape-timeout-seconds", "2")];
    let scraped = rig.says("/stats/prometheus", &timeout).await?;

    ensure!(scraped.status == 200, "{scraped:?}");
    ensure!(scraped.headers["content-type"] == TEXT, "{:?}", scraped.headers);
    let end = "first 1\nhangs 1\ndies 1\nlast 1\n";
    ensure!(scraped.body.ends_with(end), "{}", scraped.body);
    let counted = rig.says("/metrics", &timeout).await?.body;
    ensure!(failures(&counted, "application")? == 3, "{counted}");
    // There is no Envoy.
    ensure!(failures(&counted, "envoy")? == 1 && failures(&counted, "agent")? == 0, "{counted}");
    ensure!(counted.contains("\nistio_agent_scrapes_total 2\n"), "{counted}");
    // Each is told of when it begins, and not again.
    let log = std::fs::read_to_string(agent.log())?;
    ensure!(log.matches("metrics are left out of what is scraped").count() == 4, "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn openmetrics_is_what_all_have_or_nobody_and_ends_once() -> Result<()> {
    let rig = Rig::joined().await?;
    let both = |name: &'static str| {
        move |head: &str| match head.contains("openmetrics") {
            true => Said::whole(OPEN, format!("{name} 1 # {{trace_id=\"x\"}} 1\n# EOF\n")),
            false => Said::whole(TEXT, format!("{name} 1\n")),
        }
    };
    let (one, other) = (Program::start(both("one")).await?, Program::start(both("other")).await?);
    let plain = Program::start(|_| Said::whole(TEXT, "plain 1\n")).await?;
    let open = |name| format!("{name} 1 # {{trace_id=\"x\"}} 1\n");
    let table = [
        (vec![&one, &other], ACCEPT, OPEN, format!("{}{}# EOF\n", open("one"), open("other"))),
        (vec![&one, &other], "text/plain", TEXT, "one 1\nother 1\n".to_owned()),
        (vec![&one, &plain], ACCEPT, TEXT, "one 1\nplain 1\n".to_owned()),
        (vec![], ACCEPT, TEXT, String::new()),
    ];
    for (programs, accept, kind, end) in table {
        let mut agent = scraping(&rig, &programs).await?;
        let scraped = rig.says("/metrics", &[("accept", accept)]).await?;
        ensure!(scraped.headers["content-type"] == kind, "{accept}: {:?}", scraped.headers);
        ensure!(scraped.body.ends_with(&end), "{accept}: {}", scraped.body);
        let ends = scraped.body.matches("# EOF").count();
        ensure!(ends == usize::from(kind == OPEN), "{accept}: {}", scraped.body);
        agent.terminate().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoys_metrics_are_there_as_far_as_they_are_asked_for() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let program = Program::start(|_| Said::whole("text/plain", "app 1\n")).await?;
    let mut agent = scraping(&rig, &[&program]).await?;
    rig.envoy_ready().await?;
    let has = |text: &str, name: &str| text.lines().any(|line| line.starts_with(name));

    let all = rig.says("/stats/prometheus", &[]).await?.body;
    let some = rig.says("/stats/prometheus?filter=server.live", &[]).await?.body;

    for name in ["envoy_server_live", "envoy_cluster_manager_", "istio_agent_process_"] {
        ensure!(has(&all, name), "no {name} in:\n{all}");
    }
    ensure!(has(&some, "envoy_server_live"), "{some}");
    ensure!(!has(&some, "envoy_cluster_manager_"), "{some}");
    for text in [&all, &some] {
        ensure!(has(text, "istio_agent_scrapes_total") && text.ends_with("\napp 1\n"), "{text}");
    }
    agent.terminate().await?;

    let _agent = rig.vm.start_with(&[], &[("PILOT_AGENT_MERGE_ENVOY_STATS", "false")]).await?;
    rig.envoy_ready().await?;
    let own = rig.says("/metrics", &[]).await?.body;
    ensure!(!has(&own, "envoy_"), "{own}");
    ensure!(failures(&own, "envoy")? == 0, "{own}");
    Ok(())
}

/// What dashboards of Istio's agent ask for. `README.md` says what is not among it.
const NAMES: [&str; 31] = [
    "istiod_connection_failures",
    "istiod_connection_terminations",
    "envoy_connection_terminations",
    "xds_proxy_requests",
    "xds_proxy_responses",
    "pilot_xds_recv_max",
    "startup_duration_seconds",
    "scrapes_total",
    "scrape_failures_total",
    "wasm_cache_entries",
    "wasm_cache_lookup_count",
    "wasm_remote_fetch_count",
    "wasm_config_conversion_count",
    "wasm_config_conversion_duration",
    "dns_requests_total",
    "dns_upstream_requests_total",
    "dns_upstream_failures_total",
    "dns_upstream_request_duration_seconds",
    "cert_expiry_seconds",
    "outgoing_latency",
    "num_outgoing_requests",
    "num_failed_outgoing_requests",
    "num_outgoing_retries",
    "num_file_watcher_failures_total",
    "num_file_secret_failures_total",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_istios_agent_counts_is_there_under_its_names() -> Result<()> {
    let rig = Rig::with_envoy().await?;
    let _agent = rig.serving().await?;
    let text = rig.says("/metrics", &[]).await?.body;
    for name in NAMES {
        ensure!(text.contains(&format!("\n# TYPE istio_agent_{name} ")), "no {name} in:\n{text}");
    }
    Ok(())
}
