//! A machine that has joined, and an agent on it that says what it is told to.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Result;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{Seen, Site};
use crate::rig::Rig;

/// Answers, by the path that they are asked for at.
pub(super) type Answers = BTreeMap<String, String>;

/// The machine, and its agent as long as it lives.
///
/// In the order in which they go: the agent is told to end at its socket.
pub(super) struct Joined {
    agent: Option<StandIn>,
    sockets: Vec<UnixListener>,
    pub(super) site: Site,
}

impl Joined {
    /// One without an agent, with these settings besides the usual.
    pub(super) fn alone(settings: &str) -> Result<Self> {
        let site = Site::new()?;
        site.put("etc/hawser/mesh/cluster.env", CLUSTER)?;
        site.put("etc/hawser/hawser.toml", &format!("{USUAL}{settings}\n"))?;
        Ok(Self { agent: None, sockets: Vec::new(), site })
    }

    /// The same with an agent that says what a real one says, but for what is changed in it.
    pub(super) async fn with(settings: &str, change: impl FnOnce(&mut Value)) -> Result<Self> {
        Self::answering(settings, change, Answers::new()).await
    }

    /// The same with more answers.
    pub(super) async fn answering(
        settings: &str,
        change: impl FnOnce(&mut Value),
        mut answers: Answers,
    ) -> Result<Self> {
        let mut joined = Self::alone(settings)?;
        let mut status = status().await?;
        change(&mut status);
        answers.insert("/status".to_owned(), status.to_string());
        let run = joined.site.file("run/hawser");
        fs::create_dir_all(&run)?;
        joined.agent = Some(StandIn::start(&run.join("admin.sock"), answers)?);
        for name in ["sds.sock", "xds.sock"] {
            joined.sockets.push(UnixListener::bind(run.join(name))?);
            fs::set_permissions(run.join(name), Permissions::from_mode(0o666))?;
        }
        Ok(joined)
    }

    /// What one check says.
    pub(super) async fn look(&self, check: &str) -> Result<Seen> {
        self.site.look(check).await
    }

    /// Nobody listens any more behind the sockets for Envoy, whose files stay.
    pub(super) fn deafen(&mut self) {
        self.sockets.clear();
    }
}

/// What a real agent says that has joined a mesh, and has names of it.
async fn status() -> Result<Value> {
    static STATUS: OnceCell<Value> = OnceCell::const_new();
    let said = STATUS.get_or_try_init(|| async {
        let rig = Rig::joined().await?;
        let _agent = rig.vm.start().await?;
        rig.names_known().await?;
        rig.status().await
    });
    said.await.cloned()
}

/// What listens at the admin socket.
struct StandIn {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    fn start(path: &Path, answers: Answers) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
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
        Ok(Self { path: path.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(UnixStream::connect(&self.path));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn answer(mut stream: UnixStream, answers: &Answers) -> std::io::Result<()> {
    let mut asked = Vec::new();
    let mut octet = [0];
    while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut octet)? == 1 {
        asked.push(octet[0]);
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match answers.get(path) {
        Some(body) => ("200 OK", body.as_str()),
        None => ("404 Not Found", "nothing here\n"),
    };
    write!(stream, "HTTP/1.0 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Everything is to be redirected.
const CLUSTER: &str = "ISTIO_SERVICE_CIDR='*'\nISTIO_INBOUND_PORTS='*'\n\
                       ISTIO_META_DNS_CAPTURE='true'\nPOD_NAMESPACE='demo'\n";
const USUAL: &str = "[istiod]\naddress = \"istiod.example:15012\"\nroot_cert = \"SYSTEM\"\n";
