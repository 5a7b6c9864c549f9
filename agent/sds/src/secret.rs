//! The secrets that an identity is made into.
//!
//! Values only. The key is copied out of the identity when an answer is made and not before, so
//! that it lies in memory once.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use hawser_pki::Identity;
use hawser_proto::envoy::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, Secret, TlsCertificate, secret,
    },
};

use crate::subscription::{Found, Stock};

/// The workload's key and chain.
pub(crate) const DEFAULT: &str = "default";
/// The roots the workload trusts.
pub(crate) const ROOTCA: &str = "ROOTCA";

/// What can be served now: nothing at first, then one identity.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Option<Made>);

#[derive(Debug)]
struct Made {
    identity: Arc<Identity>,
    default: String,
    rootca: String,
}

impl Secrets {
    pub(crate) fn new(identity: Option<Arc<Identity>>) -> Self {
        Self(identity.map(|identity| {
            // The chain tells one key from another, so the key has no part in a version that
            // everybody on the way may read.
            let default = version(DEFAULT, identity.chain.pem());
            let rootca = version(ROOTCA, identity.roots.pem());
            Made { identity, default, rootca }
        }))
    }

    /// The secret of that name, if there is one now.
    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        let identity = &self.0.as_ref()?.identity;
        let kind = match name {
            DEFAULT => secret::Type::TlsCertificate(TlsCertificate {
                certificate_chain: inline(identity.chain.pem()),
                private_key: inline(identity.key.pem()),
                ..TlsCertificate::default()
            }),
            ROOTCA => secret::Type::ValidationContext(CertificateValidationContext {
                trusted_ca: inline(identity.roots.pem()),
                ..CertificateValidationContext::default()
            }),
            _ => return None,
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
        if all.len() > VERSION_LENGTH { version("", &all) } else { all }
    }
}

impl Stock for Secrets {
    fn find(&self, name: &str) -> Found<'_> {
        match (name, &self.0) {
            (DEFAULT, Some(made)) => Found::Version(&made.default),
            (ROOTCA, Some(made)) => Found::Version(&made.rootca),
            (DEFAULT | ROOTCA, None) => Found::NotYet,
            _ => Found::Never,
        }
    }
}

/// The same for the same content, over restarts and machines.
fn version(name: &str, content: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(&[0]);
    context.update(content.as_bytes());
    let digest = context.finish();
    digest.as_ref().iter().take(VERSION_LENGTH / 2).map(|byte| format!("{byte:02x}")).collect()
}

fn inline(text: &str) -> Option<DataSource> {
    let bytes = Specifier::InlineBytes(text.as_bytes().to_vec());
    Some(DataSource { specifier: Some(bytes), ..DataSource::default() })
}

const VERSION_LENGTH: usize = 16;
