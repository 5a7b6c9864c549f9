//! Which source the certificate comes from: what is said, else what is there.
//!
//! With an istiod something can always be asked. Without one there has to be something of the
//! operator's, and where there is nothing, every way to a certificate is named.

use std::path::{Path, PathBuf};

use hawser_identity::{Files, Hand, Printed, Source, Speaks};
use hawser_rt::Command;

use super::{LEGACY, Mesh};
use crate::config::{Reader, parse, paths::Paths, problem::Problem, source::Sources};

/// What was said and found, of all sources.
struct Candidates {
    files: Files,
    /// Whether they are meant, though nobody has said so.
    mounted: bool,
    /// Whether they are there, in a place of Istio's.
    found: bool,
    command: Option<Command>,
    socket: PathBuf,
    /// Whether somebody has said where it is.
    named: bool,
    /// The file name of Istio's own variable: whoever changes it insists on a provider.
    insists: bool,
    speaks: Speaks,
    roots: Option<PathBuf>,
    vault: bool,
}

impl Reader<'_> {
    pub(super) fn source(
        &mut self,
        paths: &Paths,
        sources: &Sources,
        mesh: Mesh,
    ) -> Option<Source> {
        let said = self.required("identity.source", |text| match text {
            "auto" | "istiod" | "files" | "exec" | "spiffe" | "vault" => Some(text.to_owned()),
            _ => None,
        });
        self.refuse_provider();
        let found = self.candidates(paths);
        let (said, found) = (said?, found?);
        let chosen = match (said.as_str(), mesh) {
            ("auto", Mesh::Istiod) => found.beside_istiod(),
            ("auto", Mesh::Unknown) => found.alone(paths),
            (said, _) => Some(said),
        };
        let Candidates { files, command, socket, speaks, roots, .. } = found;
        match (chosen, mesh) {
            (Some("istiod"), Mesh::Istiod) => Some(Source::Authority),
            (Some("files"), _) => self.files_to_read(files),
            (Some("exec"), _) => match command {
                Some(command) => Some(Source::Command(Printed { command, roots })),
                None => self.missing("identity.command", NO_COMMAND),
            },
            (Some("spiffe"), _) => Some(Source::Provider { socket, speaks }),
            (Some("vault"), _) => {
                let role = Box::new(self.vault(paths, sources)?);
                Some(Source::Vault { role, roots })
            }
            (None, Mesh::Istiod) => Some(Source::Auto { socket, speaks }),
            (Some(_), _) => self.missing("identity.source", &format!("{NO_ISTIOD}; {WAYS}")),
            (None, Mesh::Unknown) => {
                self.missing("identity.source", &format!("there is no certificate; {WAYS}"))
            }
        }
    }

    fn candidates(&mut self, paths: &Paths) -> Option<Candidates> {
        let roots = self.place("identity.roots", paths, None);
        let command = self.optional("identity.command", |text| text.parse::<Command>().ok());
        let speaks = self.required("identity.spiffe_api", |text| match text {
            "auto" => Some(Speaks::Either),
            "sds" => Some(Speaks::Sds),
            "workload" => Some(Speaks::Workload),
            _ => None,
        });
        let socket = self.optional("identity.spiffe_socket", |text| {
            let path = text.strip_prefix("unix:").unwrap_or(text);
            let path = path.strip_prefix("//").unwrap_or(path);
            match path.strip_prefix("./") {
                Some(below) => Some(paths.at(below)),
                None => parse::file(path),
            }
        });
        let name = self.socket_name();
        let roots = roots?;
        let (files, mounted) = self.files(paths, roots.clone())?;
        let socket = socket?;
        let named = socket.is_some();
        Some(Candidates {
            found: files.key.starts_with(paths.at(SPIFFE_CREDENTIALS)),
            files,
            mounted,
            command: command?,
            insists: name != DEFAULT_SOCKET,
            socket: socket.unwrap_or_else(|| usual_socket(paths, &name)),
            named,
            speaks: speaks?,
            roots,
            vault: !self.text("identity.vault.address").trim().is_empty(),
        })
    }

    /// Where files are or would be, and whether somebody means them.
    fn files(&mut self, paths: &Paths, roots: Option<PathBuf>) -> Option<(Files, bool)> {
        let directory = self.place("identity.files", paths, None);
        let key = self.place("identity.key_file", paths, None);
        let chain = self.place("identity.chain_file", paths, None);
        let gke = self.variable("CA_PROVIDER") == Some("GkeWorkloadCertificate");
        let mounted = self.flag("FILE_MOUNTED_CERTS").unwrap_or(false);
        let (directory, key, chain) = (directory?, key?, chain?);
        if key.is_some() != chain.is_some() {
            let expected = "have to be said together: a key, and the certificates that go with it";
            self.problems
                .push(Problem::with("identity.key_file and identity.chain_file", expected));
            return None;
        }
        let istio = paths.at(SPIFFE_CREDENTIALS);
        let meant = directory.is_some() || key.is_some() || mounted || gke;
        let (directory, names) = match directory {
            Some(directory) if is_of_acme(&directory) => (directory, ACME_NAMES),
            Some(directory) => (directory, NAMES),
            None if gke => (istio, GKE_NAMES),
            None if !mounted && has_all(&istio) => (istio, NAMES),
            None => (paths.at(LEGACY), NAMES),
        };
        let apart = roots.is_some() || key.is_some() || names == ACME_NAMES;
        let [own_key, own_chain, own_roots] = names.map(|name| directory.join(name));
        let files = Files {
            key: key.unwrap_or(own_key),
            chain: chain.unwrap_or(own_chain),
            roots: roots.unwrap_or(own_roots),
            hand: if apart { Hand::Other } else { Hand::Same },
        };
        Some((files, meant))
    }

    /// Roots that nobody has said and that are not there are not waited for: an ACME authority
    /// gives none, and its own would be the wrong ones.
    fn files_to_read(&mut self, files: Files) -> Option<Source> {
        if files.hand == Hand::Other
            && self.text("identity.roots").trim().is_empty()
            && !files.roots.is_file()
        {
            return self.missing("identity.roots", NO_ROOTS);
        }
        Some(Source::Files(files))
    }

    fn missing(&mut self, key: &str, what: &str) -> Option<Source> {
        self.problems.push(Problem::with(key, what));
        None
    }

    /// Other authorities than istiod's have an interface of their own, which nobody speaks here.
    fn refuse_provider(&mut self) {
        let known = ["", "Citadel", "GkeWorkloadCertificate"];
        if let Some(said) = self.values.variable("CA_PROVIDER")
            && !known.contains(&said.value.as_str())
        {
            let expected = "expected Citadel (istiod) or GkeWorkloadCertificate";
            self.problems.push(Problem::wrong("CA_PROVIDER", &said.value, &said.source, expected));
        }
    }

    /// The file name of an external provider's socket, as Istio has it.
    fn socket_name(&mut self) -> String {
        let Some(said) = self.values.variable(SOCKET_NAME).filter(|said| !said.value.is_empty())
        else {
            return DEFAULT_SOCKET.to_owned();
        };
        if parse::name(&said.value).is_none() || said.value.starts_with('.') {
            let expected = "expected the name of a file, without a directory";
            self.problems.push(Problem::wrong(SOCKET_NAME, &said.value, &said.source, expected));
        }
        said.value.clone()
    }
}

impl Candidates {
    /// None where whoever answers is asked, and istiod if nobody does.
    fn beside_istiod(&self) -> Option<&'static str> {
        match self {
            Self { insists: true, .. } => Some("spiffe"),
            Self { mounted: true, .. } => Some("files"),
            Self { command: Some(_), .. } => Some("exec"),
            Self { vault: true, .. } => Some("vault"),
            Self { found: true, .. } => Some("files"),
            _ => None,
        }
    }

    /// What somebody has said, else what is there.
    fn alone(&self, paths: &Paths) -> Option<&'static str> {
        match self.beside_istiod() {
            Some(meant) => Some(meant),
            None if self.named => Some("spiffe"),
            None if has_all(&paths.at(LEGACY)) => Some("files"),
            None if self.socket.exists() => Some("spiffe"),
            None => None,
        }
    }
}

fn has_all(directory: &Path) -> bool {
    NAMES.iter().all(|name| directory.join(name).is_file())
}

/// As ACME clients have it (certbot's `live/NAME`).
fn is_of_acme(directory: &Path) -> bool {
    let [key, ..] = NAMES;
    let [acme, ..] = ACME_NAMES;
    !directory.join(key).is_file() && directory.join(acme).is_file()
}

/// Istio's place, unless only SPIRE's own is there.
fn usual_socket(paths: &Paths, name: &str) -> PathBuf {
    let istio = paths.at(SPIFFE_SOCKETS).join(name);
    let spire = paths.at(SPIRE_SOCKET);
    if name == DEFAULT_SOCKET && !istio.exists() && spire.exists() { spire } else { istio }
}

const NAMES: [&str; 3] = ["key.pem", "cert-chain.pem", "root-cert.pem"];
const GKE_NAMES: [&str; 3] = ["private_key.pem", "certificates.pem", "ca_certificates.pem"];
const ACME_NAMES: [&str; 3] = ["privkey.pem", "fullchain.pem", "root-cert.pem"];
const SPIFFE_CREDENTIALS: &str = "var/run/secrets/workload-spiffe-credentials";
const SPIFFE_SOCKETS: &str = "var/run/secrets/workload-spiffe-uds";
const SPIRE_SOCKET: &str = "run/spire/agent/public/api.sock";
const SOCKET_NAME: &str = "WORKLOAD_IDENTITY_SOCKET_FILE";
const DEFAULT_SOCKET: &str = "socket";
const WAYS: &str = "one comes from files (key.pem, cert-chain.pem and root-cert.pem in /etc/certs, \
                    another directory by identity.files, identity.source = \"files\" if they come \
                    later), from a program that prints one (identity.command), from Vault \
                    (identity.vault.address), or from a SPIFFE Workload API \
                    (identity.spiffe_socket)";
const NO_ISTIOD: &str = "there is no istiod to ask (services.use is alone)";
const NO_COMMAND: &str = "has to be said where a program prints the certificate \
                          (identity.source = exec)";
const NO_ROOTS: &str = "has to be said: the file with the roots of the mesh, by which services are \
                        believed; it does not come with a pair of another authority";
