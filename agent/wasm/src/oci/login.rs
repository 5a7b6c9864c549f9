//! Passwords of registries, as Docker keeps them and as pull secrets hold them.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Deserialize, Deserializer};
use tracing::debug;
use zeroize::Zeroizing;

use super::reference::HUB;
use crate::{Error, base64};

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// `user:password`.
    Password(Zeroizing<String>),
    /// A token that is exchanged for others.
    Refresh(Zeroizing<String>),
    /// A token that is shown as it is.
    Token(Zeroizing<String>),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password",
            Self::Refresh(_) => "Refresh",
            Self::Token(_) => "Token",
        })
    }
}

/// What a pull secret (dockerconfigjson) has for a registry. One without anything for it is
/// none, one that is nothing at all is an error.
pub fn of_secret(secret: &str, registry: &str) -> Result<Option<Login>, Error> {
    let wrong = |problem| Error::Secret { problem };
    if secret.trim_ascii().is_empty() {
        return Err(wrong("it is empty: istiod has not found it"));
    }
    // A list of the right length would do for the decoder, too.
    if !secret.trim_ascii().starts_with('{') {
        return Err(wrong("it is no JSON object"));
    }
    let file: File = serde_json::from_str(secret).ok().ok_or_else(|| wrong("it is no JSON"))?;
    file.login(registry).map_err(wrong)
}

/// What Docker's file of passwords has for a registry; without the file, nothing.
pub(super) async fn of_file(path: &Path, registry: &str) -> Option<Login> {
    let told = |problem: &str| {
        debug!(path = %path.display(), problem, "registry passwords not used");
        None
    };
    let text = match tokio::fs::metadata(path).await {
        Ok(file) if file.len() <= LARGEST_FILE => tokio::fs::read_to_string(path).await,
        Ok(_) => return told("the file is too large"),
        Err(error) => Err(error),
    };
    let Ok(text) = text.map(Zeroizing::new) else { return told("the file cannot be read") };
    match of_secret(&text, registry) {
        Ok(login) => login,
        Err(_) => told("the file is none"),
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default, deserialize_with = "secret")]
    auth: Zeroizing<String>,
    #[serde(default)]
    username: String,
    #[serde(default, deserialize_with = "secret")]
    password: Zeroizing<String>,
    #[serde(default, rename = "identitytoken", deserialize_with = "secret")]
    refresh: Zeroizing<String>,
    #[serde(default, rename = "registrytoken", deserialize_with = "secret")]
    token: Zeroizing<String>,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

impl File {
    fn login(&self, registry: &str) -> Result<Option<Login>, &'static str> {
        let registry = known_as(registry);
        let entry = self.auths.iter().find(|(key, _)| known_as(host(key)) == registry);
        entry.map_or(Ok(None), |(_, entry)| entry.login())
    }
}

impl Entry {
    fn login(&self) -> Result<Option<Login>, &'static str> {
        if !self.token.is_empty() {
            return Ok(Some(Login::Token(self.token.clone())));
        }
        if !self.refresh.is_empty() {
            return Ok(Some(Login::Refresh(self.refresh.clone())));
        }
        if !self.auth.is_empty() {
            let decoded = base64::decode(&self.auth).map(Zeroizing::new);
            let text = decoded.and_then(|bytes| str::from_utf8(&bytes).map(str::to_owned).ok());
            let text = text.map(|text| Zeroizing::new(text.trim_end_matches('\0').to_owned()));
            let login =
                text.filter(|text| text.contains(':')).ok_or("its auth is no user:password")?;
            return Ok(Some(Login::Password(login)));
        }
        if self.username.is_empty() && self.password.is_empty() {
            return Ok(None);
        }
        let login = format!("{}:{}", self.username, self.password.as_str());
        Ok(Some(Login::Password(login.into())))
    }
}

/// The host in the key of an entry, which may be an address.
fn host(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Docker's registry has several names.
fn known_as(registry: &str) -> &str {
    match registry {
        "docker.io" | "registry-1.docker.io" => HUB,
        other => other,
    }
}

const LARGEST_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Option<Login> {
        Some(Login::Password(text.to_owned().into()))
    }

    #[test]
    fn the_entry_of_the_registry_is_found_under_every_spelling_of_it() {
        let secret = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "r.example:5000": {"username": "me", "password": "a:b"},
            "https://path.example/v2/x": {"auth": "cDpx"},
            "refresh.example": {"username": "00", "identitytoken": "R"},
            "token.example": {"registrytoken": "T", "auth": "cDpx"},
            "nobody.example": {}
        }, "credsStore": "ignored"}"#;
        let cases = [
            ("index.docker.io", password("hub:pw")),
            ("r.example:5000", password("me:a:b")),
            ("r.example", None),
            ("path.example", password("p:q")),
            ("refresh.example", Some(Login::Refresh("R".to_owned().into()))),
            ("token.example", Some(Login::Token("T".to_owned().into()))),
            ("nobody.example", None),
            ("other.example", None),
        ];
        for (registry, login) in cases {
            assert_eq!(of_secret(secret, registry).unwrap(), login, "{registry}");
        }
    }

    #[test]
    fn a_secret_that_is_none_is_an_error() {
        let wrong = ["", " ", "null", "[]", "{", r#"{"auths": {"a.b": {"auth": "!"}}}"#];
        for secret in wrong {
            assert!(of_secret(secret, "a.b").is_err(), "{secret}");
        }
        assert_eq!(of_secret("{}", "a.b").unwrap(), None);
    }
}
