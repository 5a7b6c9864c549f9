//! The five files that `istioctl x workload entry configure` writes, and how they can be wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::istiod::{FakeIstiod, SERVER_NAME};
use crate::token::Claims;

/// The mode istioctl gives to files and directory alike.
const MODE: u32 = 0o744;

/// The names of the files.
pub const FILES: [&str; 5] = ["cluster.env", "hosts", "istio-token", "mesh.yaml", "root-cert.pem"];

/// What goes into a bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Name of the workload group, which names the service too.
    pub group: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Network of the machine; empty is the mesh's own.
    pub network: String,
    /// `host:port` of istiod.
    pub discovery_address: String,
    /// The address that the `hosts` file gives to istiod.
    pub istiod_ip: String,
    /// Roots, PEM.
    pub roots: String,
    /// The token.
    pub token: String,
    /// Whether istiod is to register the machine.
    pub auto_register: bool,
    /// More lines for `cluster.env`, and the same in `proxyMetadata`.
    pub proxy_metadata: BTreeMap<String, String>,
    /// The group's readiness probe, as it stands in `mesh.yaml`; JSON is YAML.
    pub readiness_probe: Option<serde_json::Value>,
}

/// One way for a bundle to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A file is not there.
    Missing(&'static str),
    /// A file has no content.
    Empty(&'static str),
    /// A file that nobody knows is there too.
    Unknown(&'static str),
    /// The token ends in the middle.
    TokenTruncated,
    /// The token has run out an hour ago.
    TokenExpired,
    /// The token is for somebody else.
    TokenAudience,
    /// The token is no JWT.
    TokenGarbage,
    /// The root is PEM around something that is no certificate.
    RootGarbage,
    /// A quote in `cluster.env` is never closed.
    EnvSyntax,
    /// `mesh.yaml` is no YAML.
    MeshSyntax,
}

impl Bundle {
    /// What istioctl writes for a machine of this group in the mesh of `istiod`.
    ///
    /// # Errors
    /// When no token can be minted.
    pub fn new(istiod: &FakeIstiod, namespace: &str, account: &str, group: &str) -> Result<Self> {
        Ok(Self {
            group: group.to_owned(),
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            network: String::new(),
            discovery_address: istiod.discovery_address(),
            istiod_ip: istiod.addr().ip().to_string(),
            roots: istiod.ca().root_pem(),
            token: istiod.tokens().mint(&istiod.tokens().claims(namespace, account))?,
            auto_register: true,
            proxy_metadata: BTreeMap::new(),
            readiness_probe: None,
        })
    }

    /// Writes the files into a directory, which is made if it is not there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_files(&self.files()?, dir)
    }

    /// Writes the files, one of them wrong.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_damaged(&self, istiod: &FakeIstiod, damage: Damage, dir: &Path) -> Result<()> {
        let mut files = self.files()?;
        self.harm(istiod, damage, &mut files)?;
        write_files(&files, dir)
    }

    /// Writes the files as a tar archive, without a directory in front of the names.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub fn write_tar(&self, path: &Path) -> Result<()> {
        let mut file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        file.write_all(&self.tar()?).with_context(|| format!("write {}", path.display()))
    }

    /// The same archive, in memory.
    ///
    /// # Errors
    /// When the files cannot be made.
    pub fn tar(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, body) in self.files()? {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(body.len())?);
            header.set_mode(MODE);
            archive.append_data(&mut header, name, body.as_slice())?;
        }
        archive.into_inner().context("finish the archive")
    }

    fn files(&self) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let hosts = format!("{} {SERVER_NAME}\n", self.istiod_ip);
        Ok([
            ("cluster.env", self.cluster_env().into_bytes()),
            ("hosts", hosts.into_bytes()),
            ("istio-token", self.token.clone().into_bytes()),
            ("mesh.yaml", self.mesh_yaml()?.into_bytes()),
            ("root-cert.pem", self.roots.clone().into_bytes()),
        ]
        .into())
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let labels = json!({
            "service.istio.io/canonical-name": self.group,
            "service.istio.io/canonical-revision": "latest",
        });
        let own = [
            ("CANONICAL_REVISION", "latest".to_owned()),
            ("CANONICAL_SERVICE", self.group.clone()),
            ("ISTIO_METAJSON_LABELS", labels.to_string()),
            ("ISTIO_META_CLUSTER_ID", "Kubernetes".to_owned()),
            ("ISTIO_META_DNS_CAPTURE", "true".to_owned()),
            ("ISTIO_META_MESH_ID", String::new()),
            ("ISTIO_META_NETWORK", self.network.clone()),
            ("ISTIO_META_WORKLOAD_NAME", self.group.clone()),
            ("POD_NAMESPACE", self.namespace.clone()),
            ("SERVICE_ACCOUNT", self.service_account.clone()),
            ("TRUST_DOMAIN", String::new()),
        ];
        let mut all: BTreeMap<_, _> =
            own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        if self.auto_register {
            all.insert("ISTIO_META_AUTO_REGISTER_GROUP".to_owned(), self.group.clone());
        }
        all.extend(self.proxy_metadata.clone());
        all
    }

    fn cluster_env(&self) -> String {
        let mut all = self.metadata();
        let more = [
            // istioctl writes this for a revision only; the fake needs it for its port.
            ("CA_ADDR", self.discovery_address.clone()),
            ("ISTIO_INBOUND_PORTS", "*".to_owned()),
            ("ISTIO_LOCAL_EXCLUDE_PORTS", "22,15090,15021,15020".to_owned()),
            ("ISTIO_NAMESPACE", self.namespace.clone()),
            ("ISTIO_SERVICE", format!("{}.{}", self.group, self.namespace)),
            ("ISTIO_SERVICE_CIDR", "*".to_owned()),
        ];
        all.extend(more.map(|(key, value)| (key.to_owned(), value)));
        let quoted = |value: &str| format!("'{}'", value.replace('\'', r#"'"'"'"#));
        all.iter().map(|(key, value)| format!("{key}={}\n", quoted(value))).collect()
    }

    fn mesh_yaml(&self) -> Result<String> {
        let mut yaml = format!(
            "defaultConfig:\n  discoveryAddress: {}\n  proxyMetadata:\n",
            self.discovery_address
        );
        let metadata = self.metadata();
        let mut sorted: Vec<_> = metadata.iter().collect();
        // The YAML library behind istioctl sorts punctuation before letters.
        sorted.sort_by_key(|(key, _)| key.replace('_', "!"));
        for (key, value) in sorted {
            writeln!(yaml, "    {key}: {}", scalar(value))?;
        }
        if let Some(probe) = &self.readiness_probe {
            writeln!(yaml, "  readinessProbe: {probe}")?;
        }
        Ok(yaml)
    }

    fn harm(
        &self,
        istiod: &FakeIstiod,
        damage: Damage,
        files: &mut BTreeMap<&'static str, Vec<u8>>,
    ) -> Result<()> {
        let claims = istiod.tokens().claims(&self.namespace, &self.service_account);
        let (name, body) = match damage {
            Damage::Missing(name) => {
                files.remove(name);
                return Ok(());
            }
            Damage::Empty(name) => (name, String::new()),
            Damage::Unknown(name) => (name, "what is this?\n".to_owned()),
            Damage::TokenTruncated => {
                let half = self.token.get(..self.token.len() / 2).unwrap_or_default();
                ("istio-token", half.to_owned())
            }
            Damage::TokenExpired => {
                let expires = istiod.ca().time().now() - Duration::from_secs(3600);
                ("istio-token", istiod.tokens().mint(&Claims { expires, ..claims })?)
            }
            Damage::TokenAudience => {
                let audience = "https://kubernetes.default.svc".to_owned();
                ("istio-token", istiod.tokens().mint(&Claims { audience, ..claims })?)
            }
            Damage::TokenGarbage => ("istio-token", "not a token".to_owned()),
            Damage::RootGarbage => {
                let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
                ("root-cert.pem", pem.to_owned())
            }
            Damage::EnvSyntax => {
                ("cluster.env", self.cluster_env() + "ISTIO_META_BROKEN='never closed\n")
            }
            Damage::MeshSyntax => ("mesh.yaml", "defaultConfig: [unclosed\n".to_owned()),
        };
        files.insert(name, body.into_bytes());
        Ok(())
    }
}

/// A string as istioctl's YAML has it: quoted only where it would be something else.
fn scalar(value: &str) -> String {
    match value {
        "" | "true" | "false" => format!("\"{value}\""),
        json if json.starts_with('{') => format!("'{}'", json.replace('\'', "''")),
        plain => plain.to_owned(),
    }
}

fn write_files(files: &BTreeMap<&'static str, Vec<u8>>, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    for (name, body) in files {
        let path = dir.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(MODE);
        let written = options.open(&path).and_then(|mut file| file.write_all(body));
        written.with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle {
            group: "foo".to_owned(),
            namespace: "bar".to_owned(),
            service_account: "vm".to_owned(),
            network: String::new(),
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            istiod_ip: "10.10.10.11".to_owned(),
            roots: "root\n".to_owned(),
            token: "token".to_owned(),
            auto_register: false,
            proxy_metadata: [("EXTRA".to_owned(), "it's".to_owned())].into(),
            readiness_probe: Some(json!({ "httpGet": { "port": 8080 } })),
        }
    }

    #[test]
    fn cluster_env_is_sorted_and_single_quoted() {
        let lines = r#"CANONICAL_REVISION='latest'
CANONICAL_SERVICE='foo'
CA_ADDR='istiod.istio-system.svc:15012'
EXTRA='it'"'"'s'
ISTIO_INBOUND_PORTS='*'
ISTIO_LOCAL_EXCLUDE_PORTS='22,15090,15021,15020'
ISTIO_METAJSON_LABELS='{"service.istio.io/canonical-name":"foo","service.istio.io/canonical-revision":"latest"}'
ISTIO_META_CLUSTER_ID='Kubernetes'
ISTIO_META_DNS_CAPTURE='true'
ISTIO_META_MESH_ID=''
ISTIO_META_NETWORK=''
ISTIO_META_WORKLOAD_NAME='foo'
ISTIO_NAMESPACE='bar'
ISTIO_SERVICE='foo.bar'
ISTIO_SERVICE_CIDR='*'
POD_NAMESPACE='bar'
SERVICE_ACCOUNT='vm'
TRUST_DOMAIN=''
"#;
        assert_eq!(bundle().cluster_env(), lines);
    }

    #[test]
    fn mesh_yaml_quotes_what_would_not_be_a_string() {
        let yaml = bundle().mesh_yaml().unwrap();

        assert!(yaml.starts_with(
            "defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n  proxyMetadata:\n"
        ));
        assert!(yaml.contains("\n    ISTIO_META_DNS_CAPTURE: \"true\"\n"));
        assert!(yaml.contains("\n    ISTIO_META_NETWORK: \"\"\n"));
        assert!(yaml.contains("\n    ISTIO_METAJSON_LABELS: '{\"service.istio.io/"));
        assert!(yaml.ends_with("\n  readinessProbe: {\"httpGet\":{\"port\":8080}}\n"));
        let at = |key| yaml.find(key).unwrap();
        assert!(at("ISTIO_META_WORKLOAD_NAME") < at("ISTIO_METAJSON_LABELS"));
    }
}
