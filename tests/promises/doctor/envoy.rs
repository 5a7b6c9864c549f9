//! Faults of Envoy: in what its unit has left, in the kernel's tables, and in what it says.

use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::SystemTime,
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Fault, Site, process, program, sockets,
    stand_in::{Answers, Joined},
};

pub(super) const FAULTS: &[Fault] = &[
    ("envoy-binary", a_machine_without_an_envoy_that_can_be_started_is_told),
    ("envoy-version", an_envoy_that_does_not_run_here_or_is_old_is_named),
    ("envoy-ports", whoever_has_one_of_envoys_ports_is_named),
    ("envoy-unit", an_envoy_that_does_not_run_is_told_by_how_it_ended),
    ("envoy-ending", an_end_that_nobody_wanted_is_told_with_its_remedy),
    ("envoy-bootstrap", a_bootstrap_that_envoy_refuses_is_told_by_why),
    ("envoy-admin", an_envoy_that_does_not_answer_is_told),
    ("envoy-ready", what_envoy_waits_for_is_told),
    ("envoy-drained", a_machine_that_is_taken_out_of_the_mesh_is_told),
    ("envoy-endpoints", a_service_without_an_endpoint_that_is_well_is_named),
    ("envoy-files", an_envoy_at_its_limit_of_open_files_is_told),
];

/// A machine with an Envoy.
pub(super) fn healthy(root: &Path) -> Result<()> {
    program(root, "usr/local/bin/envoy", &version("1.40.0"))
}

fn version(number: &str) -> String {
    format!("echo 'envoy  version: 9e5580/{number}/Clean/RELEASE/BoringSSL'")
}

/// An Envoy that was started there with that bootstrap, and runs.
pub(super) fn runs(site: &Site, pid: u32, bootstrap: &str) -> Result<()> {
    process(site, pid, "envoy", &[])?;
    site.put("run/hawser-envoy/envoy.json", bootstrap)?;
    started(site, pid, &Value::Null)
}

fn started(site: &Site, pid: u32, refused: &Value) -> Result<()> {
    let started = json!({
        "pid": pid, "at": now()?, "uptime": { "secs": 9, "nanos": 0 },
        "binary": "/usr/local/bin/envoy", "version": "1.40.0 (Clean/RELEASE/BoringSSL)",
        "refused": refused, "launch": launch(site),
    });
    site.put("run/hawser-envoy/started.json", &started.to_string())
}

fn launch(site: &Site) -> Value {
    json!({
        "binary": null, "arguments": ["-c", site.file("run/hawser-envoy/envoy.json")],
        "admin": "127.0.0.1:15000", "own_ports": [], "drain_wait": { "secs": 0, "nanos": 0 },
        "drain": { "secs": 0, "nanos": 0 }, "log": "journal", "transparent": false,
    })
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs())
}

#[tokio::test]
async fn a_machine_without_an_envoy_that_can_be_started_is_told() -> Result<()> {
    let site = Site::new()?;
    site.look("envoy-binary").await?.says("ok", &["usr/local/bin/envoy"])?;
    fs::remove_file(site.file("usr/local/bin/envoy"))?;
    let seen = site.look("envoy-binary").await?;
    seen.failed(&["there is no Envoy on this machine"], "envoy.binary")?;

    let named = site.file("opt/envoy");
    site.put("opt/envoy", "")?;
    site.put("etc/hawser/hawser.toml", &format!("[envoy]\nbinary = {named:?}\n"))?;
    fs::set_permissions(&named, Permissions::from_mode(0o644))?;
    site.look("envoy-binary").await?.failed(&["may not be executed"], "`chmod +x ")
}

#[tokio::test]
async fn an_envoy_that_does_not_run_here_or_is_old_is_named() -> Result<()> {
    let joined = Joined::alone("")?;
    let site = &joined.site;
    joined.look("envoy-version").await?.says("ok", &["Envoy 1.40.0"])?;
    runs(site, 77, "{}")?;
    site.program("usr/local/bin/envoy", &version("1.41.2"))?;
    let seen = joined.look("envoy-version").await?;
    seen.warns(&["Envoy 1.40.0", "runs, and", "1.41.2"], "systemctl restart hawser-envoy")?;

    site.program("usr/local/bin/envoy", &version("1.22.9"))?;
    let seen = joined.look("envoy-version").await?;
    seen.warns(&["Envoy 1.22.9", "no fixes any more"], "install Envoy 1.30 or later")?;

    site.program("usr/local/bin/envoy", "echo 'libc.so.6: version GLIBC_9 not found' >&2; exit 1")?;
    let seen = joined.look("envoy-version").await?;
    seen.failed(&["usr/local/bin/envoy --version"], "built for this machine's processor")
}

#[tokio::test]
async fn whoever_has_one_of_envoys_ports_is_named() -> Result<()> {
    let joined = Joined::alone("")?;
    let site = &joined.site;
    let seen = joined.look("envoy-ports").await?;
    seen.says("ok", &["free: 15000, 15021, 15090, 15001, 15006"])?;

    site.put("proc/self/net/tcp", &sockets(&[(15006, "0A", 43)]))?;
    process(site, 73, "haproxy", &[43])?;
    let seen = joined.look("envoy-ports").await?;
    seen.failed(&["haproxy (pid 73) has port 15006", "what comes in"], "intercept.inbound_port")?;

    // Envoy's own, all of them, and then one too few.
    let all = [15000, 15021, 15090, 15001, 15006].map(|port| (port, "0A", 44));
    site.put("proc/self/net/tcp", &sockets(&all))?;
    runs(site, 77, "{}")?;
    process(site, 77, "envoy", &[44])?;
    joined.look("envoy-ports").await?.says("ok", &["an Envoy listens on"])?;
    site.put("proc/self/net/tcp", &sockets(&all[..4]))?;
    let seen = joined.look("envoy-ports").await?;
    seen.failed(&["does not listen on 15006", "come with the configuration"], "--only agent")?;
    site.put("proc/self/net/tcp", &sockets(&all[1..]))?;
    let seen = joined.look("envoy-ports").await?;
    seen.failed(&["does not listen on 15000"], "systemctl restart hawser-envoy")
}

#[tokio::test]
async fn an_envoy_that_does_not_run_is_told_by_how_it_ended() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.look("envoy-unit").await?.ok()?;
    let killed = "ActiveState=failed\nSubState=failed\nResult=oom-kill";
    super::agent::unit(&joined.site, "hawser-envoy", killed)?;
    let seen = joined.look("envoy-unit").await?;
    seen.failed(&["out of memory", "MemoryMax="], "give the machine memory")?;

    let none = "ActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=78";
    super::agent::unit(&joined.site, "hawser-envoy", none)?;
    let seen = joined.look("envoy-unit").await?;
    seen.failed(&["no Envoy that could be started"], "--only envoy-binary")
}

#[tokio::test]
async fn an_end_that_nobody_wanted_is_told_with_its_remedy() -> Result<()> {
    let joined = Joined::alone("")?;
    let site = &joined.site;
    joined.look("envoy-ending").await?.ok()?;
    let ended = |at: u64| {
        let ended = json!({
            "kind": "too-many-files", "what": "it was out of file descriptors",
            "remedy": "raise LimitNOFILE of hawser-envoy.service", "at": at, "up": 3,
            "in_a_row": 2, "unasked": 5,
        });
        site.put("run/hawser-envoy/ended.json", &ended.to_string())
    };
    ended(now()? - 30)?;
    let seen = joined.look("envoy-ending").await?;
    seen.failed(&["out of file descriptors", "2 in a row"], "LimitNOFILE")?;

    runs(site, 77, "{}")?;
    joined.look("envoy-ending").await?.warns(&["5 times by itself"], "LimitNOFILE")?;
    ended(now()? - 90_000)?;
    joined.look("envoy-ending").await?.ok()
}

#[tokio::test]
async fn a_bootstrap_that_envoy_refuses_is_told_by_why() -> Result<()> {
    let joined = Joined::alone("")?;
    let site = &joined.site;
    let seen = joined.look("envoy-bootstrap").await?;
    seen.failed(&["run/hawser/envoy.json is not there"], "systemctl restart hawser")?;

    site.put("run/hawser/envoy.json", "{\"new\": 1}")?;
    site.put("run/hawser/envoy-start.json", &launch(site).to_string())?;
    joined.look("envoy-bootstrap").await?.says("ok", &["Envoy takes"])?;
    let refuses = "[ \"$1\" = --version ] || { echo \"[2026-11-21 14:27:15.856][1][critical][main] [a.cc:1] no such field in $2\" >&2; exit 1; }";
    site.program("usr/local/bin/envoy", refuses)?;
    let seen = joined.look("envoy-bootstrap").await?;
    seen.failed(&["Envoy refuses", "no such field in", "run/hawser/envoy.json"], "mode validate")?;

    runs(site, 77, "{\"old\": 1}")?;
    let seen = joined.look("envoy-bootstrap").await?;
    seen.warns(&["an older bootstrap"], "systemctl restart hawser-envoy")?;

    started(site, 77, &json!("no such field"))?;
    let seen = joined.look("envoy-bootstrap").await?;
    seen.warns(&["last bootstrap that it was ready with", "no such field"], "mode validate")?;

    runs(site, 77, "{\"new\": 1}")?;
    joined.look("envoy-bootstrap").await?.says("ok", &["runs with the newest"])
}

/// An Envoy's admin interface that says what it is told to.
struct Says {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Says {
    /// `answers` are by the path, without what is asked for.
    fn start(answers: Answers) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                drop(answer(stream, &answers));
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// A machine whose Envoy that is.
    fn machine(&self) -> Result<Joined> {
        Joined::alone(&format!("[envoy]\nadmin_port = {}\n", self.address.port()))
    }
}

impl Drop for Says {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn answer(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let mut asked = Vec::new();
    let mut octet = [0];
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut octet)? == 1 {
        asked.push(octet[0]);
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    let path = asked.split([' ', '?']).nth(1).unwrap_or_default();
    let body = answers.get(path).map(String::as_str).unwrap_or_default();
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// One in this state, with these statistics.
fn envoy(state: &str, stats: &str) -> Result<Says> {
    let info = json!({ "version": "9e5580/1.40.0/Clean", "state": state }).to_string();
    let answers = [("/server_info", info), ("/stats", stats.to_owned())];
    Says::start(answers.map(|(path, body)| (path.to_owned(), body)).into())
}

#[tokio::test]
async fn an_envoy_that_does_not_answer_is_told() -> Result<()> {
    let envoy = envoy("LIVE", "")?;
    let joined = envoy.machine()?;
    joined.look("envoy-admin").await?.says("ok", &["1.40.0", "answers at"])?;
    drop(envoy);
    let seen = joined.look("envoy-admin").await?;
    seen.failed(&["refused", "it does not run"], "systemctl start hawser-envoy")?;
    runs(&joined.site, 77, "{}")?;
    let seen = joined.look("envoy-admin").await?;
    seen.failed(&["runs (pid 77) and does not answer"], "systemctl restart hawser-envoy")
}

const READY: &str = "cluster_manager.cds.update_success: 1\ncluster_manager.cds.update_rejected: 0\n\
                     listener_manager.lds.update_success: 1\nlistener_manager.lds.update_rejected: 0\n\
                     server.state: 0\nlistener_manager.workers_started: 1\n";

#[tokio::test]
async fn what_envoy_waits_for_is_told() -> Result<()> {
    let table: [(&str, &str, &[&str], &str); 4] = [
        ("success: 1", "success: 0", &["not received", "nothing is kept"], "--only istiod"),
        (
            "lds.update_success: 1",
            "lds.update_success: 0",
            &["not fully received"],
            "--only istiod",
        ),
        ("server.state: 0", "server.state: 3", &["not live"], "--only sds-served"),
        ("workers_started: 1", "workers_started: 0", &["workers"], "--only sds-served"),
    ];
    for (from, to, words, remedy) in table {
        let envoy = envoy("LIVE", &READY.replace(from, to))?;
        envoy.machine()?.look("envoy-ready").await?.failed(words, remedy)?;
    }
    let rejected = READY.replace("success: 1", "success: 0").replace("rejected: 0", "rejected: 1");
    let refuses = envoy("LIVE", &rejected)?;
    let seen = refuses.machine()?.look("envoy-ready").await?;
    seen.failed(&["rejected"], "--only xds-accepted")?;

    let ready = envoy("LIVE", READY)?;
    ready.machine()?.look("envoy-ready").await?.ok()
}

#[tokio::test]
async fn a_machine_that_is_taken_out_of_the_mesh_is_told() -> Result<()> {
    let live = envoy("LIVE", READY)?;
    live.machine()?.look("envoy-drained").await?.ok()?;
    let drains = envoy("DRAINING", READY)?;
    let seen = drains.machine()?.look("envoy-drained").await?;
    seen.warns(&["Envoy drains", "admin interface"], "systemctl restart hawser-envoy")?;

    let out = |status: &mut Value| status["draining"] = json!("its Envoy drains");
    let joined = Joined::with("", out).await?;
    let seen = joined.look("envoy-drained").await?;
    seen.warns(&["out of the mesh: its Envoy drains"], "hawser drain --undo")?;

    let spell = json!({"since": 1, "until": null, "reason": "disk is replaced"});
    let out = |status: &mut Value| status["maintenance"] = spell;
    let joined = Joined::with("", out).await?;
    let seen = joined.look("envoy-drained").await?;
    seen.warns(&["in maintenance: disk is replaced"], "hawser maintenance off")
}

#[tokio::test]
async fn a_service_without_an_endpoint_that_is_well_is_named() -> Result<()> {
    let stats = "cluster.outbound|80||a.demo.svc.cluster.local.membership_total: 2\n\
                 cluster.outbound|80||a.demo.svc.cluster.local.membership_healthy: 0\n\
                 cluster.b.membership_total: 1\ncluster.b.membership_healthy: 1\n";
    let ill = envoy("LIVE", stats)?;
    let seen = ill.machine()?.look("envoy-endpoints").await?;
    seen.warns(&["outbound|80||a.demo"], "hawser explain a.demo.svc.cluster.local")?;
    let well = envoy("LIVE", &stats.replace("healthy: 0", "healthy: 2"))?;
    well.machine()?.look("envoy-endpoints").await?.ok()
}

#[tokio::test]
async fn an_envoy_at_its_limit_of_open_files_is_told() -> Result<()> {
    let joined = Joined::alone("")?;
    let site = &joined.site;
    joined.look("envoy-files").await?.ok()?;
    runs(site, 77, "{}")?;
    let open: Vec<u64> = (0..18).collect();
    process(site, 77, "envoy", &open)?;
    let most = |most: u32| {
        let limits = format!(
            "Max processes  100  100  processes\nMax open files   {most}   {most}   files\n"
        );
        site.put("proc/77/limits", &limits)
    };
    most(1024)?;
    joined.look("envoy-files").await?.says("ok", &["18 of 1024"])?;
    most(20)?;
    let seen = joined.look("envoy-files").await?;
    seen.warns(&["18 of 20", "pid 77", "takes two"], "LimitNOFILE")?;
    most(18)?;
    joined.look("envoy-files").await?.failed(&["18 of 18"], "LimitNOFILE")
}
