//! Secrets, in every place of a machine where somebody has found one.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::rig::Rig;

const XDS_HEADER: &str = "planted-xds-header";
const CA_HEADER: &str = "planted-ca-header";
const META_KEY: &str = "planted-meta-key";
const SHELL: &str = "planted-in-the-environment";
const BEARER: &str = "planted+bearer/credential";
const COOKIE: &str = "planted-cookie";
const PASSWORD: &str = "planted-password";
const URL: &str = "planted-user:planted-url-password";
const ADDED: &str = "planted-added-header";
const MATCHED: &str = "planted-matched-header";
const FILTER: &str = "planted-filter-key";
const REQUEST: &str = "/planted-request?of=somebody";
const STATUS: &str = "planted-status-token";
const BOOTSTRAP: &str = "planted-in-the-bootstrap";
/// A key as it would be, in lines; of nobody.
const KEY: [&str; 3] = [
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPlantedPlantedPl",
    "antedPlantedPlantedPlanted0hRANCAAQPlantedPlantedPlantedPlantedP",
    "lantedEnd1",
];

/// What is nowhere to be found in a report.
#[derive(Default)]
pub(super) struct Planted(Vec<String>);

impl Planted {
    /// On a machine that has joined.
    pub(super) fn on(&mut self, rig: &Rig) -> Result<()> {
        let token = fs::read_to_string(rig.file("etc/hawser/mesh/istio-token"))?;
        // Its parts, too.
        self.0.extend(token.trim().split('.').map(str::to_owned));
        self.0.extend(KEY.map(str::to_owned));
        let said = [
            XDS_HEADER, CA_HEADER, META_KEY, SHELL, BEARER, COOKIE, PASSWORD, URL, ADDED, MATCHED,
            FILTER, REQUEST, STATUS, BOOTSTRAP,
        ];
        self.0.extend(said.map(str::to_owned));
        let mut variables =
            OpenOptions::new().append(true).open(rig.file("etc/hawser/mesh/cluster.env"))?;
        writeln!(
            variables,
            "XDS_HEADER_X_TEAM='{XDS_HEADER}'\nCA_HEADER_X_ANY='{CA_HEADER}'\n\
             ISTIO_META_API_KEY='{META_KEY}'"
        )?;
        let token = token.trim();
        let [one, two, three] = KEY;
        let journal = [
            format!("vm hawser[1]: no certificate: authorization: Bearer {BEARER}"),
            format!("vm hawser[1]: GET https://{URL}@vault.example/v1: token {token}"),
            format!("vm hawser[1]: cookie: session={COOKIE}; a=b"),
            format!("vm hawser[1]: started with DB_PASSWORD={PASSWORD}"),
            "vm hawser[1]: -----BEGIN PRIVATE KEY-----".to_owned(),
            format!("vm hawser[1]: {one}"),
            format!("vm hawser[1]: {two}"),
            format!("vm hawser[1]: {three}"),
            "vm hawser[1]: -----END PRIVATE KEY-----".to_owned(),
            format!("vm envoy[2]: [2026-11-21T17:00:00.000Z] \"GET {REQUEST} HTTP/1.1\" 200"),
            "vm hawser[1]: ready".to_owned(),
        ];
        program(rig, "journalctl", &journal.join("\n2026-11-21T17:00:00+0000 "))?;
        program(rig, "systemctl", &format!("StatusText=refused: API_TOKEN={STATUS}"))
    }

    /// In what the agent has kept and made since it runs.
    pub(super) fn state(&mut self, rig: &Rig) -> Result<()> {
        let kept = fs::read(rig.file("var/lib/hawser/identity"))?;
        let kept = String::from_utf8_lossy(&kept);
        let (_, key) = kept.split_once("PRIVATE KEY-----").context("no key is kept")?;
        let (key, _) = key.split_once("-----END").context("half a key is kept")?;
        let lines =
            key.split(|c: char| c.is_whitespace() || c == '\\').filter(|line| line.len() > 8);
        self.0.extend(lines.map(str::to_owned));

        let bootstrap = rig.file("run/hawser/envoy.json");
        let mut value: Value = serde_json::from_slice(&fs::read(&bootstrap)?)?;
        value["node"]["metadata"]["MY_TOKEN"] = BOOTSTRAP.into();
        let mut file = OpenOptions::new().write(true).truncate(true).open(&bootstrap)?;
        file.write_all(value.to_string().as_bytes())?;
        Ok(())
    }

    /// Of an Envoy whose mesh is careless.
    #[expect(clippy::unused_self, reason = "what is in it is planted by it")]
    pub(super) fn config_dump(&self) -> Value {
        let key =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", KEY.join("\n"));
        let tls = json!({"tls_certificates": [{"private_key": {"inline_string": key}}]});
        json!({"configs": [
            {"dynamic_active_clusters": [{"cluster": {
                "name": "outbound|9080||reviews.default.svc.cluster.local",
                "transport_socket": {"typed_config": {"common_tls_context": tls}},
            }}]},
            {"dynamic_route_configs": [{"route_config": {
                "request_headers_to_add": [{"header": {"key": "x-partner", "value": ADDED}}],
                "virtual_hosts": [{"routes": [{"match": {"headers": [
                    {"name": "x-partner", "string_match": {"exact": MATCHED}}]}}]}],
            }}]},
            {"dynamic_listeners": [{"typed_config": {
                "config": {"configuration": {"value": FILTER}},
                "http_service": {"uri": format!("https://{URL}@auth.example/")},
                "grpc": {"initial_metadata": [{"key": "authorization", "value": BEARER}]},
            }}]},
            {"dynamic_active_secrets": [{"name": "default", "secret": {"generic": [PASSWORD, KEY[0]]}}]},
        ]})
    }

    /// What a variable of the agent's process holds.
    #[expect(clippy::unused_self, reason = "as above")]
    pub(super) fn shell(&self) -> &'static str {
        SHELL
    }

    /// All that was planted.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// A program of the machine that prints something.
fn program(rig: &Rig, name: &str, printed: &str) -> Result<()> {
    ensure!(!printed.contains("EOF"), "it would end there");
    let path = rig.file("usr/bin").join(name);
    fs::create_dir_all(rig.file("usr/bin"))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path)?;
    write!(file, "#!/bin/sh\ncat <<'EOF'\n{printed}\nEOF\n")?;
    Ok(())
}

/// Stands for Envoy's admin interface.
pub(super) struct Admin {
    _served: JoinSet<()>,
}

impl Admin {
    pub(super) async fn at(port: u16, config_dump: Value) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let mut served = JoinSet::new();
        served.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 2048];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let body = if request[..length].starts_with(b"GET /config_dump") {
                    config_dump.to_string()
                } else {
                    format!("{{\"authorization\": \"{BEARER}\"}}\n")
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                drop(stream.write_all((head + &body).as_bytes()).await);
            }
        });
        Ok(Self { _served: served })
    }
}
