//! Where Vault is, what is asked of it, and who we are to it.

use std::{path::PathBuf, time::Duration};

use crate::Address;

/// The way to a role that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where Vault is.
    pub address: Address,
    /// The roots that its own certificate has to chain to; the machine's without.
    pub ca: Option<PathBuf>,
    /// The namespace; empty where there are none.
    pub namespace: String,
    /// Where the PKI engine is mounted.
    pub mount: String,
    /// The role that signs.
    pub role: String,
    /// Who we are to Vault.
    pub login: Login,
    /// How long one request may take.
    pub patience: Duration,
}

/// Who we are to Vault. All secrets are files, read when they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A token that somebody else keeps there; it is renewed if it can be.
    Token {
        /// Where it is.
        file: PathBuf,
    },
    /// A role id and a secret id.
    AppRole {
        /// Where the method is mounted.
        mount: String,
        /// Where the role id is.
        role_id: PathBuf,
        /// Where the secret id is.
        secret_id: PathBuf,
    },
    /// A signed token of somebody whom Vault believes: an OIDC issuer, or Kubernetes.
    Jwt {
        /// Where the method is mounted.
        mount: String,
        /// The role to log in to.
        role: String,
        /// Where the token is.
        jwt: PathBuf,
    },
}

impl Options {
    /// What is asked to sign: `pki/sign/ROLE`.
    pub fn place(&self) -> String {
        format!("{}/sign/{}", self.mount, self.role)
    }
}

impl Login {
    /// The files that are read, in the order of reading.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Token { file } => vec![file.clone()],
            Self::AppRole { role_id, secret_id, .. } => vec![role_id.clone(), secret_id.clone()],
            Self::Jwt { jwt, .. } => vec![jwt.clone()],
        }
    }

    /// How it is called in a sentence.
    pub fn name(&self) -> String {
        match self {
            Self::Token { file } => format!("the token in {}", file.display()),
            Self::AppRole { mount, .. } => format!("the AppRole login at auth/{mount}"),
            Self::Jwt { mount, role, .. } => format!("the login as {role} at auth/{mount}"),
        }
    }
}
