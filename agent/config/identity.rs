//! Where the certificate comes from, with which keys, and what istiod is shown for it: our
//! settings, and the variables of Istio that say the same in other words.

mod source;
mod vault;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hawser_identity::{Renewal, Source};
use hawser_istiod::credential::TokenSource;
use hawser_pki::{KeyForm, KeyKind};

use super::{
    Reader, parse,
    paths::{self, Paths},
    problem::Problem,
    source::Sources,
};

/// The certificate, and the way to it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Where it comes from.
    pub source: Source,
    /// The kind of key to make.
    pub key: KeyKind,
    /// How keys are handed out.
    pub form: KeyForm,
    /// The lifetime to ask for.
    pub ttl: Duration,
    /// When it is renewed.
    pub renewal: Renewal,
    /// The signer, where istiod has several.
    pub signer: String,
    /// What is shown to istiod beside a certificate, the first that can be had.
    pub tokens: Vec<TokenSource>,
    /// A pair to show while there is no own.
    pub provisioned: Option<PathBuf>,
    /// Revoked certificates.
    pub crl: Option<PathBuf>,
    /// The key that state is sealed with, as systemd hands it over.
    pub seal: Option<PathBuf>,
    /// Whether there is nothing to do but certificates.
    pub only: bool,
}

/// Who keeps the mesh together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mesh {
    /// istiod, which may sign and wants to be shown something.
    Istiod,
    /// Nobody that this machine knows: it has a file of services.
    Unknown,
}

impl Reader<'_> {
    /// Where there is no istiod, nothing is shown to it.
    pub(super) fn identity(
        &mut self,
        paths: &Paths,
        sources: &Sources,
        mesh: Mesh,
    ) -> Option<Identity> {
        let source = self.source(paths, sources, mesh);
        let key = self.key();
        let pkcs8 = self.required("identity.pkcs8", parse::boolean);
        let ttl = self.required("identity.ttl", parse::some_time);
        let ratio = self.required("identity.renewal_ratio", parse::part);
        let jitter = self.required("identity.renewal_jitter", parse::part);
        let tokens = self.tokens(paths, sources);
        let provisioned = self.provisioned(paths);
        let joins = mesh == Mesh::Istiod;
        let crl = self.place("identity.crl", paths, Some(CRL));
        let only = self.required("identity.only", parse::boolean);

        let wanted = self.flag("PILOT_ENABLE_CA_CRL").unwrap_or(true);
        Some(Identity {
            source: source?,
            key: key?,
            form: if pkcs8? { KeyForm::Pkcs8 } else { KeyForm::Traditional },
            ttl: ttl?,
            renewal: Renewal { ratio: ratio?, jitter: jitter? },
            signer: self.text("identity.signer"),
            tokens: tokens?.into_iter().filter(|_| joins).collect(),
            provisioned: provisioned?.filter(|_| joins),
            crl: crl?.filter(|_| wanted),
            seal: sources.credentials.as_ref().map(|dir| dir.join(SEAL)),
            only: only?,
        })
    }

    /// Ours, else Istio's three variables: a curve wins over a size, as it does there.
    fn key(&mut self) -> Option<KeyKind> {
        if let Some(kind) = self.optional("identity.key", |text| text.parse::<KeyKind>().ok())? {
            return Some(kind);
        }
        let wrong = |name: &str, expected: &str, reader: &mut Self| {
            if let Some(said) = reader.values.variable(name) {
                reader.problems.push(Problem::wrong(name, &said.value, &said.source, expected));
            }
            None
        };
        match (self.variable("ECC_SIGNATURE_ALGORITHM"), self.variable("WORKLOAD_RSA_KEY_SIZE")) {
            (Some("ECDSA"), _) if self.variable("ECC_CURVE") == Some("P384") => {
                Some(KeyKind::EcdsaP384)
            }
            (Some("ECDSA"), _) | (None, None) => Some(KeyKind::EcdsaP256),
            (Some(_), _) => wrong("ECC_SIGNATURE_ALGORITHM", "expected ECDSA", self),
            (None, Some("2048")) => Some(KeyKind::Rsa2048),
            (None, Some("3072")) => Some(KeyKind::Rsa3072),
            (None, Some("4096")) => Some(KeyKind::Rsa4096),
            (None, Some(_)) => wrong("WORKLOAD_RSA_KEY_SIZE", "expected 2048, 3072 or 4096", self),
        }
    }

    /// The file first, because it is what `join` brings; then what can be asked; then what
    /// systemd hands over.
    fn tokens(&mut self, paths: &Paths, sources: &Sources) -> Option<Vec<TokenSource>> {
        let file = self.optional("istiod.token", parse::file);
        let command = self.optional("istiod.token_command", |text| text.parse().ok());
        let gce = self.required("istiod.credential_fetcher", |text| match text {
            "JWT" => Some(false),
            "GoogleComputeEngine" => Some(true),
            _ => None,
        });
        let metadata = self.required("istiod.gce_metadata", parse::host_and_port);

        let file = file?.unwrap_or_else(|| paths.bundle_file(paths::TOKEN));
        let mut tokens = vec![TokenSource::File(file)];
        if gce? {
            let audience = self.text("node.trust_domain");
            tokens.push(TokenSource::Gce { metadata: metadata?, audience });
        }
        tokens.extend(command?.map(TokenSource::Command));
        if let Some(dir) = &sources.credentials {
            tokens.push(TokenSource::SystemdCredential(dir.join(paths::TOKEN)));
        }
        Some(tokens)
    }

    /// The directory of a pair to show: what is said, else what was joined with, else Istio's own.
    pub(super) fn provisioned(&mut self, paths: &Paths) -> Option<Option<PathBuf>> {
        let (said, joined) = (self.text(PROVISIONED), paths.bundle_file(paths::KEY));
        if said.trim().is_empty() && joined.is_file() {
            return Some(joined.parent().map(Path::to_owned));
        }
        self.place(PROVISIONED, paths, Some(LEGACY))
    }

    /// A path that is absolute, `none`, or as Istio's start script writes it: below `./`. What is
    /// not said is `usual`.
    pub(super) fn place(
        &mut self,
        key: &str,
        paths: &Paths,
        usual: Option<&str>,
    ) -> Option<Option<PathBuf>> {
        let place = self.optional(key, |text| match text {
            "none" => Some(None),
            text => match text.strip_prefix("./") {
                Some(below) => Some(Some(paths.at(below))),
                None => parse::file(text).map(Some),
            },
        })?;
        Some(place.unwrap_or_else(|| usual.map(|usual| paths.at(usual))))
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let said = self.values.variable(name)?;
        Some(said.value.as_str()).filter(|value| !value.is_empty())
    }

    /// As in Istio, what is no boolean counts as not said.
    fn flag(&self, name: &str) -> Option<bool> {
        parse::boolean(self.variable(name)?)
    }
}

/// Istio's own place for a pair and its root.
const LEGACY: &str = "etc/certs";
const PROVISIONED: &str = "identity.provisioned";
const CRL: &str = "var/run/secrets/istio/crl/ca-crl.pem";
/// The name of the credential that holds the key.
pub const SEAL: &str = "hawser.seal";

#[cfg(test)]
mod tests;
