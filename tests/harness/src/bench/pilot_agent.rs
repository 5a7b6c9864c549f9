//! Istio's own agent, to be measured beside ours.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::process::Command;

use crate::free;
use crate::istiod::FakeIstiod;
use crate::mesh::{ACCOUNT, Mesh, NAMESPACE};

/// The command that runs it in a directory of its own, answering DNS at `dns`; its xDS socket is
/// [`SOCKET`] in there. It wants its files in its working directory, and its settings in its
/// environment; `istiod` is on the ports that a real one has, since agents tell plaintext by them.
///
/// # Errors
/// When its files cannot be written.
pub fn command(
    program: &Path,
    dir: &Path,
    mesh: &Mesh,
    istiod: &FakeIstiod,
    dns: SocketAddr,
) -> Result<Command> {
    let _fresh = fs::remove_dir_all(dir);
    let tokens = mesh.istiod.tokens();
    let token = tokens.mint(&tokens.claims(NAMESPACE, ACCOUNT))?;
    for (path, text) in [
        ("var/run/secrets/istio/root-cert.pem", mesh.istiod.ca().root_pem()),
        ("var/run/secrets/tokens/istio-token", token),
        ("etc/istio/config/mesh", String::new()),
        ("etc/istio/proxy/none", String::new()),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        put(&path, &text).with_context(|| format!("write {}", path.display()))?;
    }
    let ca = format!("localhost:{}", mesh.istiod.addr().port());
    let config = json!({
        "discoveryAddress": istiod.plaintext_addr().to_string(),
        "controlPlaneAuthPolicy": "NONE",
        "statusPort": free::port(Ipv4Addr::LOCALHOST.into())?,
        "serviceCluster": "web.vms",
    });
    let mut command = Command::new(program);
    command.args(["proxy", "sidecar"]).current_dir(dir).env_clear();
    command.envs([
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/"),
        ("PROXY_CONFIG", &config.to_string()),
        ("CA_ADDR", &ca),
        ("INSTANCE_IP", "10.0.0.9"),
        ("POD_NAME", "vm-1"),
        ("POD_NAMESPACE", NAMESPACE),
        ("SERVICE_ACCOUNT", ACCOUNT),
        ("TRUST_DOMAIN", "cluster.local"),
        ("CLOUD_PLATFORM", "none"),
        ("DISABLE_ENVOY", "true"),
        ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
        ("ISTIO_META_DNS_CAPTURE", "true"),
        ("ISTIO_METAJSON_LABELS", r#"{"app":"web"}"#),
        ("DNS_PROXY_ADDR", &dns.to_string()),
        ("ISTIO_DELTA_XDS", "true"),
    ]);
    Ok(command)
}

/// Where it serves xDS, in its directory.
pub const SOCKET: &str = "etc/istio/proxy/XDS";

#[expect(clippy::disallowed_methods, reason = "nobody reads it while it is written")]
fn put(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)
}
