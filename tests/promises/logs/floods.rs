//! A thousand bad questions, frames and connections at every port and socket are a handful of lines.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::wait::wait_for;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket, UnixStream},
    task::JoinSet,
    time::timeout,
};

use crate::rig::Rig;

/// At each door, of each kind.
const VISITS: usize = 1000;
/// What all of them together may add to the log.
const HANDFUL: usize = 12;

/// What strangers send where something else is expected.
const NOISE: [&[u8]; 6] = [
    b"",
    b"\0",
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /drain HTTP/1.1\r\nhost: evil\r\ncontent-length: 99999999999999999999\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\xff\x04\0\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\n\n\x1b[2J",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_bad_visits_at_every_door_are_a_handful_of_lines() -> Result<()> {
    let rig = Rig::joined().await?;
    let agent = rig.vm.start().await?;
    rig.names_known().await?;
    let before = lines(agent.log())?;

    let dns = rig.dns().await?;
    bad_questions(dns).await?;
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let status: SocketAddr =
        settings["status"]["listen"].as_str().context("no status port")?.parse()?;
    for door in [Door::Tcp(dns), Door::Tcp(status)] {
        visits(&door).await?;
    }
    for socket in ["xds.sock", "sds.sock", "admin.sock"] {
        visits(&Door::Unix(rig.file("run/hawser").join(socket))).await?;
    }

    // It is alive, and has nothing more to say of what was before.
    rig.status().await?;
    let log = fs::read_to_string(agent.log())?;
    let new: Vec<&str> = log.lines().skip(before).collect();
    ensure!(new.len() <= HANDFUL, "{} lines:\n{}", new.len(), new.join("\n"));
    ensure!(!log.contains('\x1b'), "a stranger moves the cursor of whoever reads it");
    Ok(())
}

#[derive(Clone)]
enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A thousand, some of them at the same time.
async fn visits(door: &Door) -> Result<()> {
    let mut under_way = JoinSet::new();
    for visit in 0..VISITS {
        let (door, noise) = (door.clone(), NOISE[visit % NOISE.len()]);
        under_way.spawn(async move {
            match door {
                // Who is turned away at the door has visited too.
                Door::Tcp(address) => match TcpStream::connect(address).await {
                    Ok(stream) => speak(stream, noise).await,
                    Err(_turned_away) => {}
                },
                Door::Unix(path) => match UnixStream::connect(path).await {
                    Ok(stream) => speak(stream, noise).await,
                    Err(_turned_away) => {}
                },
            }
        });
        if under_way.len() >= 32 {
            under_way.join_next().await;
        }
    }
    while under_way.join_next().await.is_some() {}
    Ok(())
}

/// Says something, and goes when there is an answer, or hangs up where none comes.
async fn speak(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    noise: &[u8],
) {
    if stream.write_all(noise).await.is_ok() {
        drop(stream.shutdown().await);
        let mut answer = [0; 512];
        let soon = std::time::Duration::from_millis(200);
        drop(timeout(soon, stream.read(&mut answer)).await);
    }
}

/// What is no question, and questions that nobody may ask.
async fn bad_questions(dns: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    for visit in 0..VISITS {
        let noise = NOISE[visit % NOISE.len()];
        socket.send_to(noise, dns).await?;
        // A header that promises more than there is, and an update of somebody's zone.
        for code in [0x01, 0x28] {
            let header = [7, 7, code, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, b'a'];
            socket.send_to(&header, dns).await?;
        }
    }
    Ok(())
}

fn lines(log: &Path) -> Result<usize> {
    Ok(fs::read_to_string(log)?.lines().count())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_a_resolver_that_is_away_a_thousand_times_is_told_of_once() -> Result<()> {
    let rig = Rig::joined().await?;
    let nobody = hawser_harness::free::port(Ipv4Addr::LOCALHOST.into())?;
    let upstream = format!("dns.upstreams=127.0.0.1:{nobody}");
    let agent = rig.vm.start_with(&["--set", &upstream], &[]).await?;
    rig.names_known().await?;
    let (before, dns) = (lines(agent.log())?, rig.dns().await?);

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    for number in 0..u16::try_from(VISITS)? {
        let [high, low] = number.to_be_bytes();
        let name = [&[5][..], format!("n{number:04}").as_bytes(), b"\x04test\0"].concat();
        let question =
            [&[high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name, &[0, 1, 0, 1]].concat();
        socket.send_to(&question, dns).await?;
        let mut answer = [0; 512];
        drop(timeout(std::time::Duration::from_millis(5), socket.recv(&mut answer)).await);
    }
    wait_for("the trouble to be told", async || {
        ensure!(lines(agent.log())? > before, "nothing yet");
        Ok(())
    })
    .await?;
    rig.status().await?;
    let new = lines(agent.log())? - before;
    ensure!(new <= HANDFUL, "{new} lines: {}", agent.tail());
    Ok(())
}

/// Where bytes of strangers are read, answered and judged.
const FRONT: [&str; 13] = [
    "agent/dns/src/listen",
    "agent/dns/src/listen.rs",
    "agent/dns/src/relay",
    "agent/dns/src/relay.rs",
    "agent/rt/src/uds/incoming.rs",
    "agent/rt/src/uds/peers.rs",
    "agent/sds/src/serve.rs",
    "agent/sds/src/stream.rs",
    "agent/sds/src/subscription.rs",
    "agent/status/admin.rs",
    "agent/status/web.rs",
    "agent/xds/src/downstream.rs",
    "agent/xds/src/relay/asks.rs",
];

/// Each line there that is louder than debug counts what it leaves out.
#[test]
fn what_strangers_can_cause_is_told_once_a_period_and_counted() -> Result<()> {
    let mut seen = 0;
    for place in FRONT {
        let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(place)];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    left.push(entry?.path());
                }
                continue;
            }
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let text = text.split("\n#[cfg(test)]").next().unwrap_or_default();
            for (at, _) in
                ["info!(", "warn!(", "error!("].iter().flat_map(|it| text.match_indices(it))
            {
                let told =
                    text.get(at..).and_then(|told| told.split(");").next()).unwrap_or_default();
                ensure!(told.contains("suppressed"), "{}: {told}", path.display());
                seen += 1;
            }
        }
    }
    ensure!(seen >= 10, "only {seen} lines were found: has the code moved?");
    Ok(())
}
