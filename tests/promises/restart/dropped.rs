//! What an agent drops that is restarted or killed under load: nothing. Its sockets are kept by the
//! service manager, whoever asks meanwhile waits, and Envoy serves on.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent, dig::Dig, free, http1::Open, istiod::Flavour, store::Store, wait::wait_for,
    xds::XdsClient,
};
use hawser_proto::type_url::CLUSTER;
use tokio::{net::UnixStream, sync::watch, task::JoinSet, time::sleep};

use crate::{
    registration::{never_gone, only_entry, own_envoy},
    rig::Rig,
};

const SOCKETS: [&str; 2] = ["run/hawser/xds.sock", "run/hawser/sds.sock"];
const CONNECTIONS: usize = 500;
/// Each asks, waits for the answer, and then a while: a thousand a second at most, of which no more
/// wait at a time than sockets hold.
const CLIENTS: usize = 200;
const WHILE: Duration = Duration::from_millis(200);

/// A machine whose service manager keeps sockets; and the setting of its port for DNS, which is to
/// be the same each time.
async fn keeping() -> Result<(Rig, Vec<String>)> {
    let mut rig = Rig::joined().await?;
    rig.vm.store = Some(Store::default());
    let listen =
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free::port(Ipv4Addr::LOCALHOST.into())?);
    Ok((rig, vec!["--set".to_owned(), format!("dns.listen={listen}")]))
}

async fn start(rig: &Rig, flags: &[String]) -> Result<Agent> {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    rig.vm.start_with(&flags, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_while_there_is_no_agent_is_answered_by_the_next() -> Result<()> {
    let (rig, flags) = keeping().await?;
    for kill in [false, true] {
        let mut agent = start(&rig, &flags).await?;
        rig.names_known().await?;
        let dns = rig.dns().await?;
        if kill {
            agent.kill().await?
        } else {
            agent.terminate().await?
        };
        drop(agent);

        // They connect at once, and wait.
        for socket in SOCKETS {
            UnixStream::connect(rig.file(socket)).await.context(socket)?;
        }
        let client = XdsClient::envoy(&rig.file(SOCKETS[0]), Flavour::Delta).await;
        let host = rig.mesh.service.host();
        let question = Dig::a(&host);
        let (answer, agent) = tokio::join!(question.ask(dns), start(&rig, &flags));

        let mut agent = agent?;
        assert_eq!(answer?.addresses(), [rig.mesh.service.vip.ip()]);
        let client = client?;
        client.subscribe(CLUSTER, &[])?;
        client.until("clusters", |held| held.responses(CLUSTER) > 0).await?;
        agent.terminate().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_was_removed_is_not_taken_back_but_made_again() -> Result<()> {
    let (rig, flags) = keeping().await?;
    start(&rig, &flags).await?.terminate().await?;
    for socket in SOCKETS {
        std::fs::remove_file(rig.file(socket))?;
    }

    let _agent = start(&rig, &flags).await?;

    for socket in SOCKETS {
        UnixStream::connect(rig.file(socket)).await.context(socket)?;
    }
    let names = rig.vm.store.as_ref().context("no store")?.names();
    let doors = names.iter().filter(|name| name.starts_with("uds-")).count();
    ensure!(doors == SOCKETS.len(), "{names:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_connection_is_reset_no_question_lost_and_no_registration_changed()
-> Result<()> {
    let (rig, flags) = keeping().await?;
    let mut agent = start(&rig, &flags).await?;
    let envoy = own_envoy(&rig).await?;
    rig.envoy_ready().await?;
    rig.names_known().await?;
    let (name, before) = only_entry(&rig.mesh.istiod).await?;
    let pid = envoy.pid();
    let host = format!("{}:{}", rig.mesh.service.host(), rig.mesh.service.vip.port());
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = Open::to(rig.mesh.service.vip).await?;
        ensure!(connection.status("/held", &host).await? == 200);
        connections.push(connection);
    }
    let asking =
        Asking::start(rig.dns().await?, &rig.mesh.service.host(), rig.mesh.service.vip.ip());

    let restarts = async {
        for kill in [false, true, false, true] {
            asking.more(CLIENTS as u64).await?;
            let accepted = rig.status().await?["secrets"]["streams"].clone();
            if kill {
                agent.kill().await?
            } else {
                agent.terminate().await?
            };
            agent = start(&rig, &flags).await?;
            wait_for("Envoy to be back", async || {
                let status = rig.status().await?;
                ensure!(status["relay"]["joined"] == 1, "{}", status["relay"]);
                ensure!(status["secrets"]["streams"] == accepted, "{}", status["secrets"]);
                Ok(())
            })
            .await
            .with_context(|| agent.tail())?;
        }
        Ok(())
    };
    never_gone(&rig.mesh.istiod, restarts).await?;

    asking.more(CLIENTS as u64).await?;
    asking.stop().await?;
    for connection in &mut connections {
        ensure!(connection.status("/held", &host).await? == 200, "on one that was open before");
    }
    let (still, after) = only_entry(&rig.mesh.istiod).await?;
    ensure!(still == name && after.address == before.address, "{before:?} became {after:?}");
    ensure!(envoy.pid() == pid, "it is the same Envoy");
    Ok(())
}

/// Clients that ask for a name, each when it has its last answer.
struct Asking {
    answered: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    clients: JoinSet<Result<()>>,
}

impl Asking {
    fn start(dns: SocketAddr, host: &str, expected: IpAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        let answered = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (host, stopped, answered) =
                (host.to_owned(), stopped.clone(), Arc::clone(&answered));
            clients.spawn(async move {
                while !*stopped.borrow() {
                    // One datagram, which is not sent again.
                    let answer = Dig::a(&host).ask(dns).await?;
                    ensure!(answer.addresses() == [expected], "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                    sleep(WHILE).await;
                }
                Ok(())
            });
        }
        Self { answered, stop, clients }
    }

    /// Waits for so many more answers.
    async fn more(&self, count: u64) -> Result<()> {
        let from = self.answered.load(Ordering::Relaxed);
        wait_for("answers", async || {
            let now = self.answered.load(Ordering::Relaxed);
            ensure!(now >= from + count, "{from} became {now}");
            Ok(())
        })
        .await
    }

    async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client has died")??;
        }
        Ok(())
    }
}

/// Nothing is left of it when it is stopped for good: systemd removes the directory.
#[test]
fn the_unit_has_its_sockets_kept_and_its_directory_removed() -> Result<()> {
    let unit = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/hawser.service"),
    )?;
    for line in [
        "FileDescriptorStoreMax=256",
        "Environment=FDSTORE=256",
        "RuntimeDirectory=hawser",
        "RuntimeDirectoryPreserve=restart",
    ] {
        ensure!(unit.lines().any(|known| known == line), "{line}");
    }
    Ok(())
}
