//! The secrets that can be served now, made of everything they depend on.
//!
//! Values only. A key is copied out of where it lies when an answer is made and not before, so
//! that it lies in memory once.

use std::{collections::BTreeMap, sync::Arc};

use hawser_pki::{Bundle, Identity, KeyForm};
use hawser_proto::envoy::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, Secret, TlsCertificate, secret,
    },
};

use crate::{
    file::{Content, Held, Pair},
    name::{DEFAULT, Name, ROOTCA},
    revocation::Revocations,
    subscription::{Found, Stock},
    version::{self, version},
};

/// What can be served now, and under which versions.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    parts: Parts,
    /// By resource name; what is not here is not there yet, or never will be.
    versions: BTreeMap<String, String>,
}

/// What secrets are made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    /// How the workload's key is written.
    pub(crate) form: KeyForm,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) trusted: Option<Arc<Bundle>>,
    pub(crate) revocations: Option<Arc<Revocations>>,
    /// By resource name.
    pub(crate) files: BTreeMap<String, Arc<Held>>,
}

impl Secrets {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut versions = BTreeMap::new();
        if let Some(identity) = &parts.identity {
            // The chain tells one key from another, so the key has no part in a version that
            // everybody on the way may read.
            versions.insert(DEFAULT.to_owned(), version(&[DEFAULT, identity.chain.pem()]));
        }
        if let Some(trusted) = &parts.trusted {
            let lists = parts.revocations.as_ref().map_or("", |lists| &lists.version);
            versions.insert(ROOTCA.to_owned(), version(&[ROOTCA, trusted.pem(), lists]));
        }
        for (name, held) in &parts.files {
            let lists = match &held.content {
                Content::Roots(roots) => parts.concerning(roots),
                Content::Pair(_) => None,
            };
            let lists = lists.map_or("", |lists| &lists.version);
            versions.insert(name.clone(), version(&[name, &held.version, lists]));
        }
        Self { parts, versions }
    }

    /// The secret of that name, if there is one now.
    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        let Parts { form, identity, trusted, revocations, files } = &self.parts;
        let kind = match name {
            DEFAULT => {
                let identity = identity.as_ref()?;
                pair(identity.chain.pem(), &identity.key.encoded(*form))
            }
            ROOTCA => context(trusted.as_ref()?, revocations.as_deref()),
            file => match &files.get(file)?.content {
                Content::Pair(Pair { chain, key }) => pair(chain.pem(), key),
                Content::Roots(roots) => context(roots, self.parts.concerning(roots)),
            },
        };
        Some(Secret { name: name.to_owned(), r#type: Some(kind) })
    }

    /// One version for several names, for answers that carry but one.
    pub(crate) fn version_of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> String {
        let mut all = String::new();
        for name in names {
            if let Found::Version(version) = self.find(name) {
                all.push_str(version);
            }
        }
        if all.len() > version::LENGTH { version(&[&all]) } else { all }
    }
}

impl Parts {
    /// The revocation lists, if they are about these roots. `ROOTCA` has them in any case: the
    /// file is the mesh's, and what lists are missing in it is told.
    fn concerning(&self, roots: &Bundle) -> Option<&Revocations> {
        self.revocations.as_deref().filter(|lists| lists.concern(roots))
    }
}

impl Stock for Secrets {
    fn find(&self, name: &str) -> Found<'_> {
        match self.versions.get(name) {
            Some(version) => Found::Version(version),
            None if Name::parse(name).is_ok() => Found::NotYet,
            None => Found::Never,
        }
    }
}

fn pair(chain: &str, key: &str) -> secret::Type {
    secret::Type::TlsCertificate(TlsCertificate {
        certificate_chain: inline(chain),
        private_key: inline(key),
        ..TlsCertificate::default()
    })
}

fn context(roots: &Bundle, revocations: Option<&Revocations>) -> secret::Type {
    secret::Type::ValidationContext(CertificateValidationContext {
        trusted_ca: inline(roots.pem()),
        crl: revocations.and_then(|lists| inline(lists.crl.pem())),
        ..CertificateValidationContext::default()
    })
}

fn inline(text: &str) -> Option<DataSource> {
    let bytes = Specifier::InlineBytes(text.as_bytes().to_vec());
    Some(DataSource { specifier: Some(bytes), ..DataSource::default() })
}
