//! Pushes of some sizes through each proxy, and what each costs.
//!
//! A proxy is started anew for each push, so that its idle memory is that of one that has had none.
//! Time and peak are taken from the push until two seconds after its receipt: what is written or
//! tidied up behind it counts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hawser_harness::bench::rows;
use hawser_harness::bench::usage::{Cpu, Memory};
use hawser_harness::demo::print;
use hawser_harness::istiod::{Ballast, Flavour};
use hawser_harness::xds::{Options as Client, Place, XdsClient};
use hawser_proto::type_url::{CLUSTER, LISTENER};
use tokio::time::{sleep, timeout};

use crate::proxy::{Field, Proxy};
use crate::table::{self, Row};

/// As much as a cluster of istiod is, more or less.
const PIECE: usize = 10_000;

/// For whatever a proxy does at its start.
const SETTLE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(2);

/// For all of it.
const LIMIT: Duration = Duration::from_secs(1800);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The agent, built for release.
    #[arg(long)]
    hawser: PathBuf,
    /// Istio's agent, to be measured too.
    #[arg(long)]
    pilot_agent: Option<PathBuf>,
    /// Where the rows are written.
    #[arg(long, default_value = "target/bench/xds.json")]
    out: PathBuf,
    /// MB of a push.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50,100")]
    sizes: Vec<usize>,
    /// How often; medians are told.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<String>,
    /// State of the world instead of delta.
    #[arg(long)]
    sotw: bool,
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    timeout(LIMIT, measure_all(options)).await.context("the bench does not end")?
}

async fn measure_all(options: &Options) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("hawser-bench-").tempdir()?;
    let field = Field::open(&options.hawser, dir.path()).await?;
    let mut proxies = vec![Proxy::Copy, Proxy::HawserPass, Proxy::Hawser, Proxy::HawserTls];
    match &options.pilot_agent {
        Some(path) => proxies.push(Proxy::PilotAgent(path.clone())),
        None => print("no row for pilot-agent: PILOT_AGENT gives no path"),
    }
    let only = &options.proxies;
    for name in only {
        ensure!(proxies.iter().any(|proxy| proxy.name() == name), "there is no proxy {name}");
    }
    proxies.retain(|proxy| only.is_empty() || only.iter().any(|name| name == proxy.name()));
    let flavour = if options.sotw { Flavour::SotW } else { Flavour::Delta };
    let mut measured = Vec::new();
    for round in 0..options.rounds {
        for mb in &options.sizes {
            for proxy in &proxies {
                let bench = Bench { field: &field, flavour, round };
                let row = bench.measure(proxy, *mb).await;
                let row = row.with_context(|| format!("{} with {mb} MB", proxy.name()));
                if let (Proxy::PilotAgent(_), Err(error)) = (proxy, &row) {
                    print(format_args!("round {round}: no row: {error:#}"));
                    continue;
                }
                let row = row?;
                print(format_args!(
                    "round {round}: {:<12} {mb:>4} MB {:>8.1} ms {:>7.1} -> {:>7.1} MB",
                    row.proxy, row.cpu_ms, row.idle_mb, row.peak_mb
                ));
                measured.push(row);
            }
        }
    }
    let mut rows = rows::medians(&measured);
    rows.sort_by_key(|row| row.mb);
    table::show(&rows);
    rows::write(&rows, &options.out)?;
    print(format_args!("  written to {}", options.out.display()));
    Ok(())
}

struct Bench<'a> {
    field: &'a Field,
    flavour: Flavour,
    round: u64,
}

impl Bench<'_> {
    async fn measure(&self, proxy: &Proxy, mb: usize) -> Result<Row> {
        let world = self.field.mesh.istiod.world();
        // A round is of one proxy and size, so that nobody has the same bytes twice.
        let salt = fastrand::u64(..) ^ self.round;
        world.change(|state| state.clear(CLUSTER));
        let running = self.field.start(proxy).await?;
        let options = Client { keeps: false, ..Client::envoy(self.flavour) };
        let client = XdsClient::connect(&Place::Unix(running.socket.clone()), options).await?;
        client.subscribe(CLUSTER, &[])?;
        client.subscribe(LISTENER, &[])?;
        client
            .until("the first responses", |held| {
                held.responses(CLUSTER) > 0 && held.responses(LISTENER) > 0
            })
            .await?;
        sleep(SETTLE).await;
        let before = client.held().responses(CLUSTER);
        let acks = self.field.istiod.seen().acks(CLUSTER);
        let idle = Memory::of(running.pid)?;
        Memory::forget_peak(running.pid)?;
        let used = Cpu::of(running.pid)?;

        let bytes = mb * 1_000_000;
        world.change(|state| state.ballast_of(Ballast { bytes, piece: PIECE, round: salt }));

        let held = client.until("the push", |held| held.responses(CLUSTER) > before).await?;
        let last = held.types.get(CLUSTER).map_or(0, |kept| kept.bytes);
        ensure!(last >= bytes, "{last} bytes came instead of {bytes}");
        let taken = |seen: &hawser_harness::istiod::Seen| seen.acks(CLUSTER) > acks;
        self.field.istiod.until("its receipt", taken).await?;
        sleep(AFTER).await;
        let cpu = Cpu::of(running.pid)?.since(&used);
        let after = Memory::of(running.pid)?;
        drop(client);
        running.process.stop().await?;
        Ok(Row {
            proxy: proxy.name().to_owned(),
            mb,
            cpu_ms: cpu.as_secs_f64() * 1e3,
            idle_mb: idle.now,
            peak_mb: after.peak,
            after_mb: after.now,
        })
    }
}
