//! The status port is that of Istio's agent, path by path, and nobody can hold it up.

mod booted;
mod program;
mod reader;
mod ready;
mod scrape;

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use hawser_harness::{
    agent::Agent,
    free,
    http1::{self, Reply},
    netns::Net,
    wait::{PATIENCE, wait_for},
};
use http::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
};

use self::program::Program;
use crate::rig::Rig;

impl Rig {
    /// Where the agent has its status port, as this machine asks it.
    fn port(&self) -> Result<SocketAddr> {
        let settings: toml::Table = self.vm.toml()?.parse()?;
        let listen = settings["status"]["listen"].as_str().context("no status.listen")?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, listen.parse::<SocketAddr>()?.port())))
    }

    /// What it says there.
    async fn says(&self, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        http1::call(self.port()?, &Method::GET, path, headers).await
    }

    /// From now on it is reached from other machines as well.
    fn open_port(&self) -> Result<()> {
        let toml = self.vm.toml()?;
        let port = self.port()?.port();
        self.vm.settings(&toml.replace(&format!("127.0.0.1:{port}"), &format!("0.0.0.0:{port}")))
    }
}

/// A machine in a network of its own, where it has an address that is not loopback.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

fn in_a_network<T: Future<Output = Result<()>>>(test: impl FnOnce() -> T + Send) -> Result<()> {
    let (net, other) = (Net::new("web-here")?, Net::new("web-there")?);
    net.join(&other, ADDRESS, Ipv4Addr::new(10, 77, 0, 2))?;
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            net.enter()?;
            Runtime::new()?.block_on(test())
        });
        done.join().map_err(|_panic| anyhow!("the thread in the network has panicked"))?
    })
}

#[test]
fn every_path_answers_with_the_status_of_istios_agent() -> Result<()> {
    in_a_network(|| async {
        let rig = Rig::joined().await?;
        rig.open_port()?;
        let program = Program::start(Program::page).await?;
        let page = json!({"httpGet": {"port": program.port(), "path": "/well"}});
        let lost = json!({"httpGet": {"port": program.port(), "path": "/lost"}});
        let refused = json!({"tcpSocket": {"port": free::port(Ipv4Addr::LOCALHOST.into())?}});
        let probes = json!({
            "/app-health/web/readyz": page,
            "/app-health/lost/livez": lost,
            "/app-health/gone/livez": refused,
            "/app-lifecycle/web/prestopz": page,
        });
        let env = [
            ("ISTIO_KUBE_APP_PROBERS", probes.to_string()),
            ("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION", "true".to_owned()),
        ];
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut agent = rig.vm.start_with(&[], &env).await?;
        rig.names_known().await?;

        each_path(&rig).await?;
        drained(&rig).await?;

        let quit = http1::call(rig.port()?, &Method::POST, "/quitquitquit", &[]).await?;
        ensure!((quit.status, quit.body.as_str()) == (200, "OK"), "{quit:?}");
        let ended = agent.wait_exit(PATIENCE).await?;
        ensure!(ended.code() == Some(0) && agent.notified().stopping, "{}", agent.tail());
        Ok(())
    })
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Elsewhere,
}

use Place::{Elsewhere, Here};

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// What Istio's agent answers on a machine without an Envoy; 501 is ours, who has no Go.
const PATHS: [(&str, &str, Place, u16, &str); 36] = [
    ("GET", "/healthz/ready", Here, 503, TEXT),
    ("POST", "/healthz/ready", Here, 503, TEXT),
    ("GET", "/healthz/ready", Elsewhere, 503, TEXT),
    ("HEAD", "/healthz/ready", Here, 503, TEXT),
    ("GET", "/healthz/ready/", Here, 404, TEXT),
    ("GET", "/metrics", Here, 200, METRICS),
    ("POST", "/metrics", Here, 200, METRICS),
    ("HEAD", "/metrics", Here, 200, METRICS),
    ("GET", "/metrics", Elsewhere, 200, METRICS),
    ("GET", "/stats/prometheus", Here, 200, METRICS),
    ("GET", "/stats/prometheus?usedonly", Elsewhere, 200, METRICS),
    ("GET", "/quitquitquit", Here, 405, TEXT),
    ("PUT", "/quitquitquit", Here, 405, TEXT),
    ("GET", "/quitquitquit", Elsewhere, 403, TEXT),
    ("POST", "/quitquitquit", Elsewhere, 403, TEXT),
    ("GET", "/drain", Here, 405, TEXT),
    ("GET", "/drain", Elsewhere, 403, TEXT),
    ("POST", "/drain", Elsewhere, 403, TEXT),
    ("GET", "/app-health/web/readyz", Here, 200, TEXT),
    ("POST", "/app-health/web/readyz", Elsewhere, 200, TEXT),
    ("GET", "/app-lifecycle/web/prestopz", Elsewhere, 200, TEXT),
    ("GET", "/app-health/lost/livez", Here, 404, TEXT),
    ("GET", "/app-health/gone/livez", Here, 500, TEXT),
    ("GET", "/app-health/web/livez", Here, 400, TEXT),
    ("GET", "/app-lifecycle/other/poststartz", Elsewhere, 400, TEXT),
    ("GET", "/app-health/", Here, 400, TEXT),
    ("GET", "/debug/ndsz", Here, 200, JSON),
    ("POST", "/debug/ndsz", Here, 200, JSON),
    ("GET", "/debug/ndsz", Elsewhere, 403, TEXT),
    ("GET", "/debug/pprof/", Here, 501, TEXT),
    ("GET", "/debug/pprof/profile?seconds=1", Here, 501, TEXT),
    ("GET", "/debug/pprof/", Elsewhere, 403, TEXT),
    ("GET", "/debug/pprof/cmdline", Elsewhere, 403, TEXT),
    ("GET", "/", Here, 404, TEXT),
    ("GET", "/nothing", Elsewhere, 404, TEXT),
    ("POST", "/status", Here, 404, TEXT),
];

async fn each_path(rig: &Rig) -> Result<()> {
    for (method, path, place, status, kind) in PATHS {
        let reply = place.ask(rig, method, path).await?;
        let said = reply.headers.get("content-type").map(String::as_str);
        ensure!(
            (reply.status, said) == (status, Some(kind)),
            "{method} {path} from {place:?}: {reply:?}"
        );
    }
    let allowed = Here.ask(rig, "GET", "/drain").await?.headers;
    ensure!(allowed.get("allow").is_some_and(|allow| allow == "POST"), "{allowed:?}");
    let page = Here.ask(rig, "GET", "/app-health/web/readyz").await?;
    ensure!(page.body == "fine", "{page:?}");
    Ok(())
}

/// The machine can be taken out of the mesh there.
async fn drained(rig: &Rig) -> Result<()> {
    let drained = Here.ask(rig, "POST", "/drain").await?;
    ensure!((drained.status, drained.body.as_str()) == (200, "OK"), "{drained:?}");
    let ready = Here.ask(rig, "GET", "/healthz/ready").await?;
    ensure!(ready.status == 503 && ready.body.contains("taken out of the mesh"), "{ready:?}");
    Ok(())
}

impl Place {
    async fn ask(self, rig: &Rig, method: &str, path: &str) -> Result<Reply> {
        let port = rig.port()?.port();
        let host = if self == Here { Ipv4Addr::LOCALHOST } else { ADDRESS };
        http1::call((host, port).into(), &method.parse()?, path, &[]).await
    }
}

#[test]
fn metrics_can_be_for_this_machine_alone() -> Result<()> {
    in_a_network(|| async {
        let rig = Rig::joined().await?;
        rig.open_port()?;
        let _agent = rig.vm.start_with(&[], &[("METRICS_LOCALHOST_ACCESS_ONLY", "true")]).await?;
        for path in ["/metrics", "/stats/prometheus"] {
            ensure!(Here.ask(&rig, "GET", path).await?.status == 200, "{path}");
            ensure!(Elsewhere.ask(&rig, "GET", path).await?.status == 403, "{path}");
        }
        ensure!(Elsewhere.ask(&rig, "GET", "/healthz/ready").await?.status == 503);
        Ok(())
    })
}

#[test]
fn nobody_elsewhere_takes_the_places_of_this_machine() -> Result<()> {
    in_a_network(|| async {
        let rig = Rig::joined().await?;
        rig.open_port()?;
        let agent = rig.vm.start().await?;
        let address = SocketAddr::from((ADDRESS, rig.port()?.port()));
        let mut open = Vec::new();
        let mut away = 0;
        for _ in 0..64 {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET /healthz/ready HTTP/1.1\r\n").await?;
            open.push(stream);
        }
        for stream in &mut open {
            let mut said = Vec::new();
            // Those that were let in are closed in silence when their time is over.
            match stream.read_to_end(&mut said).await {
                Ok(_) if said.is_empty() || said.starts_with(b"HTTP/1.1 408") => {}
                Ok(_) => {
                    ensure!(said.starts_with(b"HTTP/1.1 503"), "{}", said.escape_ascii());
                    away += 1;
                }
                Err(_reset) => away += 1,
            }
            let ready = Here.ask(&rig, "GET", "/healthz/ready").await?;
            ensure!(ready.body.contains("connect"), "{ready:?}");
        }
        ensure!(away >= 56, "{away} of 64 were turned away");
        wait_for("places to be free again", async || {
            let ready = Elsewhere.ask(&rig, "GET", "/healthz/ready").await?;
            ensure!(ready.body.contains("connect"), "{ready:?}");
            Ok(())
        })
        .await
        .with_context(|| agent.tail())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_too_much_or_nothing_is_not_listened_to() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent: Agent = rig.vm.start().await?;
    let mut mute = TcpStream::connect(rig.port()?).await?;
    let mut loud = TcpStream::connect(rig.port()?).await?;
    loud.write_all(b"GET / HTTP/1.1\r\n").await?;
    let line = [b"x-a: ".as_slice(), &[b'a'; 1000], b"\r\n"].concat();
    for _ in 0..64 {
        // It is closed at some time.
        if loud.write_all(&line).await.is_err() {
            break;
        }
    }
    let mut said = Vec::new();
    let read = loud.read_to_end(&mut said).await;
    ensure!(read.is_err() || said.starts_with(b"HTTP/1.1 431"), "{}", said.escape_ascii());

    let mut said = Vec::new();
    mute.read_to_end(&mut said).await?;
    ensure!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{}", said.escape_ascii());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_the_agent_itself_is_a_mistake_in_the_configuration() -> Result<()> {
    let rig = Rig::joined().await?;
    let own = rig.port()?.port();
    let annotations = format!(r#"{{"scrape":"true","port":"{own}"}}"#);
    for (said, wrong) in [
        (annotations.as_str(), format!("the mesh has port {own} itself")),
        (r#"{"port":"15090"}"#, "the mesh has port 15090 itself".to_owned()),
        (r#"{"port":"http"}"#, "\"http\" is no port".to_owned()),
        ("{", "EOF".to_owned()),
    ] {
        let mut agent = rig.vm.spawn(&[], &[("ISTIO_PROMETHEUS_ANNOTATIONS", said)])?;
        ensure!(agent.wait_exit(PATIENCE).await?.code() == Some(78), "{}", agent.tail());
        let told = agent.tail();
        ensure!(told.contains(&wrong) && told.contains("metrics.applications"), "{told}");
    }
    Ok(())
}
