//! Rounds over all servers and loads: who is compared is measured in the same minute.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hawser_harness::bench::rows;
use hawser_harness::bench::usage::{Cpu, Memory, pin};
use hawser_harness::demo::print;
use hawser_harness::dig::Dig;
use hawser_harness::wait::wait_for;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::blast::Outcome;
use crate::configuration::Names;
use crate::server::{Field, Running, answers};
use crate::table::{self, Row};

/// Where the server is kept when it is to be saturated, and everybody else.
const SERVER: usize = 1;
const OTHERS: usize = 0;
/// For all of it.
const LIMIT: Duration = Duration::from_secs(3600);
/// A large mesh, and how often its table is replaced under load.
const MANY: u32 = 50_000;
const REPLACED: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The agent, built for release.
    #[arg(long)]
    hawser: PathBuf,
    /// Istio's agent, to be measured too.
    #[arg(long)]
    pilot_agent: Option<PathBuf>,
    /// Where other servers are unpacked, if they are not installed.
    #[arg(long)]
    tools: Option<PathBuf>,
    /// Where the rows are written.
    #[arg(long, default_value = "target/bench/dns.json")]
    out: PathBuf,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    #[arg(long, default_value_t = 10_000)]
    names: u32,
    /// Of one load on one server.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only these, besides echo.
    #[arg(long, value_delimiter = ',', default_value = "hawser,dnsmasq,unbound,knot,nsd")]
    servers: Vec<String>,
}

/// What servers are made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// As many queries as it answers, on a processor of its own.
    Saturated,
    /// An ordinary number, wherever the kernel puts it.
    Paced,
    /// Names that others answer, none of them twice.
    Relayed,
    /// The ordinary number while a large table is replaced over and over.
    Replaced,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Saturated => "saturated",
            Self::Paced => "5000 q/s",
            Self::Relayed => "relayed",
            Self::Replaced => "5000 q/s, 50k names replaced",
        }
    }

    fn pinned(self) -> bool {
        matches!(self, Self::Saturated | Self::Relayed)
    }

    fn window(self) -> &'static str {
        if self == Self::Relayed { "16" } else { "64" }
    }

    fn rate(self) -> &'static str {
        if self.pinned() { "0" } else { "5000" }
    }
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    timeout(LIMIT, measure_all(options)).await.context("the bench does not end")?
}

async fn measure_all(options: &Options) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("hawser-bench-").tempdir()?;
    let field = Field::open(&options.hawser, dir.path(), options.tools.as_deref()).await?;
    let bench = Bench { options, field, names: Names::new(options.names), dir: dir.path() };
    let mut measured = Vec::new();
    let mut servers = bench.start().await?;
    for round in 0..options.rounds {
        let mut rows = Vec::new();
        for load in [Load::Saturated, Load::Paced, Load::Relayed] {
            for server in &servers {
                let answers = !matches!(server.name.as_str(), "knot" | "nsd" | "echo");
                if load == Load::Relayed && !answers {
                    continue;
                }
                let row = bench.measure(server, load).await;
                rows.push(row.with_context(|| format!("{}, {}", server.name, load.name()))?);
            }
        }
        table::compare(&mut rows);
        for row in &rows {
            print(format_args!(
                "round {round}: {:<12} {:<10} {:>8.2} us {:>6.2}",
                row.server, row.load, row.cpu_us, row.x_echo
            ));
        }
        measured.extend(rows);
    }
    if let Some(hawser) = servers.iter().find(|server| server.name == "hawser") {
        measured.extend(bench.large(hawser).await?);
    }
    while let Some(server) = servers.pop() {
        server.process.stop().await?;
    }
    let rows = rows::medians(&measured);
    table::show(&rows);
    rows::write(&rows, &options.out)?;
    print(format_args!("  written to {}", options.out.display()));
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    field: Field,
    names: Names,
    dir: &'a Path,
}

impl Bench<'_> {
    /// Everybody who can be had, and answers.
    async fn start(&self) -> Result<Vec<Running>> {
        let inside = self.list("inside", &self.names.list())?;
        let outside: String =
            (0..100_000).map(|each| format!("host-{each}.example.org\n")).collect();
        self.list("outside", &outside)?;
        let (first, world) = (first_line(&inside)?, self.field.mesh.istiod.world());
        let mut servers = vec![self.field.echo()?];
        for name in &self.options.servers {
            let started = match name.as_str() {
                "hawser" => self.field.hawser().await,
                _ => self.field.other(name, &self.names),
            };
            match started {
                Ok(server) => servers.push(server),
                Err(error) if name != "hawser" => {
                    print(format_args!("no row for {name}: {error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        match &self.options.pilot_agent {
            Some(path) => servers.push(self.field.pilot_agent(path).await?),
            None => print("no row for pilot-agent: PILOT_AGENT gives no path"),
        }
        for server in servers.iter().filter(|server| server.name == "hawser") {
            print(format_args!("hawser without names: {:.1} MB", Memory::of(server.pid)?.now));
        }
        world.change(|state| state.names(&self.names.table()));
        for server in &mut servers {
            let echoes = server.name == "echo";
            answers(server, &first, echoes).await?;
        }
        Ok(servers)
    }

    async fn measure(&self, server: &Running, load: Load) -> Result<Row> {
        pin(server.pid, load.pinned().then_some(SERVER))?;
        pin(self.field.upstream.pid, load.pinned().then_some(OTHERS))?;
        // The first queries find cold caches, which is not what is asked here.
        self.blast(server, load, 1).await?;
        let before = Cpu::of(server.pid)?;
        let outcome = self.blast(server, load, self.options.seconds).await?;
        let cpu = Cpu::of(server.pid)?.since(&before);
        let memory = Memory::of(server.pid)?;
        ensure!(outcome.answered > 0, "no answers");
        ensure!(outcome.failed * 100 < outcome.answered, "{} errors", outcome.failed);
        let answered = float(outcome.answered);
        Ok(Row {
            server: server.name.clone(),
            load: load.name().to_owned(),
            qps: answered / outcome.seconds,
            cpu_us: cpu.as_secs_f64() * 1e6 / answered,
            x_echo: 0.0,
            p50_us: outcome.p50_us,
            p99_us: outcome.p99_us,
            rss_mb: memory.now,
            lost: float(outcome.sent.saturating_sub(outcome.answered)),
        })
    }

    async fn blast(&self, server: &Running, load: Load, seconds: u64) -> Result<Outcome> {
        let own = std::env::current_exe().context("find this program")?;
        let mut command = if load.pinned() {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(OTHERS.to_string()).arg(own);
            command
        } else {
            Command::new(own)
        };
        let names = if load == Load::Relayed { "outside" } else { "inside" };
        command.args(["blast", "--to", &server.address.to_string(), "--names"]);
        command.arg(self.dir.join(names)).args(["--window", load.window(), "--rate", load.rate()]);
        command.args(["--seconds", &seconds.to_string()]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        let output = output.output().await.context("ask")?;
        ensure!(output.status.success(), "asking ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("read how it went")
    }

    /// What a large mesh costs, and how answers are while it changes.
    async fn large(&self, hawser: &Running) -> Result<Vec<Row>> {
        let (few, many) = (Memory::of(hawser.pid)?, Names::new(MANY));
        let (table, world) = (many.table(), self.field.mesh.istiod.world());
        let last = format!("service-{MANY}.space-{}.svc.cluster.local", MANY / 50);
        world.change(|state| state.names(&table));
        let name = last.as_str();
        wait_for("the large table", async || {
            let answer = Dig::a(name).ask(hawser.address).await?;
            ensure!(!answer.addresses().is_empty(), "not yet");
            Ok(())
        })
        .await?;
        sleep(REPLACED).await;
        let large = Memory::of(hawser.pid)?;
        let replacing = async {
            let mut versions = 0_u32;
            loop {
                sleep(REPLACED).await;
                versions += 1;
                let mut changed = table.clone();
                if let Some(info) = changed.table.get_mut(name) {
                    info.ips.push(Ipv4Addr::from_bits(0x0b00_0000 + versions).to_string());
                }
                world.change(|state| state.names(&changed));
            }
        };
        let row = tokio::select! {
            row = self.measure(hawser, Load::Replaced) => row?,
            () = replacing => return Ok(Vec::new()),
        };
        print(format_args!(
            "hawser with {} names: {:.1} MB, with {MANY}: {:.1} MB, replaced each second: {:.1} MB",
            self.options.names, few.now, large.now, row.rss_mb
        ));
        Ok(vec![row])
    }

    fn list(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

fn first_line(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().next().context("no names")?.to_owned())
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
