//! An Envoy with a bootstrap of the test's own: what the unit's commands do needs no mesh.

use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_envoy::{
    drain::What,
    launch::{Launch, LogTo},
    unit::Unit,
};
use hawser_harness::{
    envoy::envoy_binary,
    free,
    http1::{self, Reply},
    wait::{PATIENCE, wait_for},
};
use http::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::HAWSER;

/// A root, with what an agent would have left there.
pub(super) struct Bare {
    pub(super) listener: SocketAddr,
    launch: Launch,
    dir: TempDir,
}

/// An Envoy that `hawser envoy start` has become.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Bare {
    pub(super) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let port = || free::port([127, 0, 0, 1].into()).map(local);
        let (listener, admin) = (port()?, port()?);
        let bootstrap = Unit::under(dir.path()).bootstrap().display().to_string();
        let arguments =
            ["-c", &bootstrap, "--disable-hot-restart", "--file-flush-interval-msec", "50"];
        let launch = Launch {
            binary: Some(envoy_binary()?),
            arguments: arguments.map(str::to_owned).into(),
            admin,
            own_ports: Vec::new(),
            drain_wait: Duration::from_secs(5),
            drain: Duration::from_secs(5),
            log: LogTo::Journal,
            transparent: false,
        };
        fs::create_dir_all(dir.path().join("run/hawser"))?;
        let bare = Self { listener, launch, dir };
        bare.say()?;
        put(&bare.root().join("run/hawser/envoy.json"), &bootstrap_of(listener, admin))?;
        Ok(bare)
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn say(&self) -> Result<()> {
        put(&Launch::path(&self.root().join("run/hawser")), &serde_json::to_value(&self.launch)?)
    }

    pub(super) fn log_to_a_file(&mut self, size: u64, keep: u32) -> Result<PathBuf> {
        let path = self.root().join("envoy.log");
        self.launch.log = LogTo::File { path: path.clone(), size, keep };
        self.say()?;
        Ok(path)
    }

    pub(super) fn binary(&mut self, path: &str) -> Result<()> {
        self.launch.binary = Some(path.into());
        self.say()
    }

    /// Starts it, and waits until it listens.
    pub(super) async fn start(&self) -> Result<Running> {
        self.listens(self.spawn(None)?).await
    }

    /// The same with a journal to speak to.
    pub(super) async fn start_into(&self, journal: UnixStream) -> Result<Running> {
        self.listens(self.spawn(Some(journal))?).await
    }

    async fn listens(&self, running: Running) -> Result<Running> {
        let listens = wait_for("Envoy's listener", async || {
            tokio::net::TcpStream::connect(self.listener).await?;
            Ok(())
        });
        listens.await.with_context(|| running.said().unwrap_or_default())?;
        Ok(running)
    }

    pub(super) fn spawn(&self, journal: Option<UnixStream>) -> Result<Running> {
        let log = self.root().join("said");
        let file = fs::File::create(&log)?;
        let mut command = self.command(&["start"], &[]);
        match journal {
            Some(journal) => {
                let file = fs::File::from(std::os::fd::OwnedFd::from(journal));
                let known = file.metadata()?;
                command.env("JOURNAL_STREAM", format!("{}:{}", known.dev(), known.ino()));
                command.stdout(file.try_clone()?).stderr(file);
            }
            None => {
                command.stdout(file.try_clone()?).stderr(file);
            }
        }
        let child = command.kill_on_drop(true).spawn().context("start")?;
        Ok(Running { child, log })
    }

    fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(HAWSER);
        command.arg("envoy").args(args).arg("--root").arg(self.root()).env_clear();
        command.envs(env.iter().copied()).stdin(Stdio::null());
        command
    }

    /// What one of the unit's commands prints.
    pub(super) async fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Result<String> {
        let output =
            timeout(PATIENCE, self.command(args, env).output()).await.context("late")??;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "{args:?} ended with {}: {said}", output.status);
        Ok(said)
    }

    /// What is said of an end.
    pub(super) async fn ended(&self, [result, code, status]: [&str; 3]) -> Result<String> {
        let env = [("SERVICE_RESULT", result), ("EXIT_CODE", code), ("EXIT_STATUS", status)];
        self.run(&["ended"], &env).await
    }

    /// Asks what Envoy serves.
    pub(super) async fn ask(&self, path: &str) -> Result<Reply> {
        http1::call(self.listener, &Method::GET, path, &[]).await
    }

    /// Asks its admin interface.
    pub(super) async fn admin(&self, path: &str) -> Result<Reply> {
        http1::call(self.launch.admin, &Method::GET, path, &[]).await
    }

    /// Waits until Envoy counts so many connections.
    pub(super) async fn counts(&self, wanted: u64) -> Result<()> {
        wait_for("Envoy to count its connections", async || {
            let text = self.admin("/stats?filter=listener").await?.body;
            let counted = What::Everything { own_ports: Vec::new() }.connections(&text);
            ensure!(counted == Some(wanted), "{counted:?}");
            Ok(())
        })
        .await
    }
}

impl Running {
    pub(super) fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id().context("it has ended")?)?)
    }

    pub(super) async fn ends(&mut self) -> Result<ExitStatus> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.with_context(|| self.said().unwrap_or_default())??)
    }

    pub(super) fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }
}

fn put(path: &Path, value: &serde_json::Value) -> Result<()> {
    Ok(hawser_state::write_file(path, 0o600, value.to_string().as_bytes())?)
}

/// One listener that answers whatever it is asked, and writes an access log where istiod wants one.
fn bootstrap_of(listener: SocketAddr, admin: SocketAddr) -> serde_json::Value {
    let address = |of: SocketAddr| json!({"socket_address": {"address": of.ip().to_string(), "port_value": of.port()}});
    let typed = |name: &str, more: serde_json::Value| {
        let mut typed = json!({"@type": format!("type.googleapis.com/envoy.extensions.{name}")});
        if let (Some(typed), Some(more)) = (typed.as_object_mut(), more.as_object()) {
            typed.extend(more.clone());
        }
        typed
    };
    let log = typed("access_loggers.file.v3.FileAccessLog", json!({"path": "/dev/stdout"}));
    let manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "any",
            "access_log": [{"name": "file", "typed_config": log}],
            "http_filters": [{
                "name": "router",
                "typed_config": typed("filters.http.router.v3.Router", json!({})),
            }],
            "route_config": {"virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [{
                "match": {"prefix": "/"}, "direct_response": {"status": 200},
            }]}]},
        }),
    );
    json!({
        "admin": {"address": address(admin)},
        "static_resources": {"listeners": [{
            "name": "any",
            "address": address(listener),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }]},
    })
}
