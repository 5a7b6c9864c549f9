//! Modules in images: the registry API, version 2.
//!
//! What is fetched by a digest is verified against it, and what is fetched by a tag gives the
//! digest by which all else is. A token is asked for the image only, and a password is shown in
//! clear text only where the operator allows it.

pub mod challenge;
pub mod login;
pub mod manifest;
pub mod reference;

use std::{fmt::Write as _, net::IpAddr, path::Path};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tracing::debug;
use zeroize::Zeroizing;

use self::{
    challenge::Challenge,
    login::Login,
    manifest::{ACCEPT, Document, Layer},
    reference::Reference,
};
use crate::{
    Error,
    checksum::Checksum,
    url::Url,
    web::{Reply, Web, basic},
};

/// A conversation with a registry about one image.
pub(crate) struct Registry<'a> {
    web: &'a Web,
    reference: &'a Reference,
    login: Option<Login>,
    /// Where the image is; clear text once the registry has turned out to speak no TLS.
    at: Url,
    proof: Option<HeaderValue>,
}

/// An image, known by its manifest.
#[derive(Debug)]
pub(crate) struct Image {
    /// That of the manifest.
    pub(crate) digest: Checksum,
    pub(crate) layer: Layer,
}

impl<'a> Registry<'a> {
    /// Without a secret, the machine's own passwords are looked through.
    pub(crate) async fn new(
        web: &'a Web,
        reference: &'a Reference,
        secret: Option<&str>,
        keychain: Option<&Path>,
    ) -> Result<Self, Error> {
        let login = match (secret, keychain) {
            (Some(secret), _) => login::of_secret(secret, &reference.registry)?,
            (None, Some(path)) => login::of_file(path, &reference.registry).await,
            (None, None) => None,
        };
        let Reference { registry, repository, .. } = reference;
        let at = Url::parse(&format!("https://{registry}/v2/{repository}/"))?;
        Ok(Self { web, reference, login, at, proof: None })
    }

    /// The image, of the platform that modules are built under.
    pub(crate) async fn image(&mut self) -> Result<Image, Error> {
        let wanted = self.reference.digest;
        let (mut digest, mut document) = self.document(&self.reference.version(), wanted).await?;
        if let Document::Index(inner) = document {
            let wanted = manifest::sum(&inner);
            (digest, document) = self.document(&inner, wanted).await?;
        }
        match document {
            Document::Image(layer) => Ok(Image { digest, layer }),
            Document::Index(_) => Err(self.unusable("an index within an index")),
        }
    }

    /// The bytes of a layer, still to be verified.
    pub(crate) async fn layer(&mut self, layer: &Layer) -> Result<Reply, Error> {
        self.ask(&format!("blobs/{}", layer.digest), "*/*").await?.good()
    }

    async fn document(
        &mut self,
        version: &str,
        wanted: Option<Checksum>,
    ) -> Result<(Checksum, Document), Error> {
        let reply = self.ask(&format!("manifests/{version}"), ACCEPT).await?.good()?;
        let kind = reply.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let bytes = reply.bytes(LARGEST_MANIFEST).await?;
        let digest = Checksum::of(&bytes);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            let (found, wanted) = (digest.to_string(), wanted.to_string());
            return Err(Error::Checksum { url: self.reference.to_string(), found, wanted });
        }
        let document = Document::read(&bytes, &kind).map_err(|problem| self.unusable(problem))?;
        Ok((digest, document))
    }

    /// Asks below the image's address, and proves who is asking if the registry wants to know.
    async fn ask(&mut self, path: &str, accept: &'static str) -> Result<Reply, Error> {
        let reply = match self.once(path, accept).await {
            Err(Error::NotTls { host }) => {
                debug!(host, "registry speaks no TLS");
                self.at = Url::parse(&self.at.to_string().replacen("https:", "http:", 1))?;
                self.once(path, accept).await?
            }
            other => other?,
        };
        // Redirects lead to stores of blobs, which know nothing of the registry's users.
        if reply.status != StatusCode::UNAUTHORIZED || !reply.url.is_beside(&self.at) {
            return Ok(reply);
        }
        self.proof = Some(self.prove(&reply.headers).await?);
        self.once(path, accept).await
    }

    async fn once(&self, path: &str, accept: &'static str) -> Result<Reply, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(proof) = &self.proof {
            headers.insert(header::AUTHORIZATION, proof.clone());
        }
        self.web.get(&self.at.join(path)?, &headers).await
    }

    /// What is to be shown to a registry that has challenged us.
    async fn prove(&self, headers: &HeaderMap) -> Result<HeaderValue, Error> {
        let unauthorized = |problem| Error::Unauthorized { url: self.name(), problem };
        let said = headers.get_all(header::WWW_AUTHENTICATE);
        let said = said.iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = said.filter_map(Challenge::read).collect();
        let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
        let challenge = challenges.iter().find(is_bearer).or(challenges.first());
        let challenge = challenge.ok_or_else(|| unauthorized("in a way that is not known"))?;
        match (challenge, &self.login) {
            (Challenge::Basic, Some(Login::Password(login))) => {
                self.may_show_password_to(&self.at)?;
                basic(login)
            }
            (Challenge::Basic, _) => Err(unauthorized("there is no password for it")),
            (Challenge::Bearer { .. }, Some(Login::Token(token))) => {
                self.may_show_password_to(&self.at)?;
                self.bearer(token)
            }
            (Challenge::Bearer { realm, service }, _) => {
                self.token(realm, service.as_deref().unwrap_or_default()).await
            }
        }
    }

    /// Asks for a token where the registry says it is given out.
    async fn token(&self, realm: &str, service: &str) -> Result<HeaderValue, Error> {
        let unusable =
            |problem| Error::Realm { url: self.name(), realm: crate::url::plain(realm), problem };
        let at = admissible(realm, &self.at).map_err(unusable)?;
        if self.login.is_some() {
            self.may_show_password_to(&at)?;
        }
        let scope = format!("repository:{}:pull", self.reference.repository);
        let form = format!("service={}&scope={}", escaped(service), escaped(&scope));
        let reply = match &self.login {
            Some(Login::Refresh(refresh)) => {
                let refresh = Zeroizing::new(escaped(refresh));
                let form = format!(
                    "grant_type=refresh_token&client_id=hawser&{form}&refresh_token={}",
                    refresh.as_str()
                );
                self.web.post(&at, form).await?
            }
            login => {
                let mut headers = HeaderMap::new();
                if let Some(Login::Password(login)) = login {
                    headers.insert(header::AUTHORIZATION, basic(login)?);
                }
                let joint = if at.target.contains('?') { '&' } else { '?' };
                let target = format!("{}{joint}{form}", at.target);
                self.web.get(&Url { target, ..at }, &headers).await?
            }
        };
        let body = Zeroizing::new(reply.good()?.bytes(LARGEST_TOKEN).await?);
        let given: Token = serde_json::from_slice(&body)
            .ok()
            .ok_or_else(|| unusable("what it gives is no token"))?;
        let token = given.token.or(given.access_token).map(Zeroizing::new);
        self.bearer(&token.ok_or_else(|| unusable("it gives no token"))?)
    }

    fn bearer(&self, token: &str) -> Result<HeaderValue, Error> {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.ok().ok_or_else(|| self.unusable("a token that is none"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn may_show_password_to(&self, at: &Url) -> Result<(), Error> {
        if at.tls || self.web.is_insecure(at) {
            return Ok(());
        }
        Err(Error::ClearText { host: at.authority() })
    }

    fn unusable(&self, problem: &'static str) -> Error {
        Error::Registry { url: self.name(), problem }
    }

    fn name(&self) -> String {
        self.reference.to_string()
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Whether a registry may send us to the address for a token: it is asked from within, where the
/// registry cannot go itself. What names resolve to is guarded when they are dialled.
fn admissible(realm: &str, registry: &Url) -> Result<Url, &'static str> {
    let at = Url::parse(realm).ok().ok_or("it is no http:// or https:// address")?;
    // Who is asked already may be asked again.
    if at.is_beside(registry) {
        return Ok(at);
    }
    let host = at.host.trim_end_matches('.');
    if host == "localhost" || host.ends_with(".localhost") {
        return Err("it is this machine");
    }
    if host == "metadata.google.internal" {
        return Err("it is a metadata service");
    }
    let is_within = match at.host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
        Err(_) => false,
    };
    if is_within { Err("it is an address of this machine or its network") } else { Ok(at) }
}

/// As part of a query or a form.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            // Writing to a String does not fail.
            write!(escaped, "%{byte:02X}").ok();
        }
    }
    escaped
}

/// Bytes of any answer that is read as text.
const LARGEST_MANIFEST: usize = 4 << 20;
const LARGEST_TOKEN: usize = 256 << 10;

#[cfg(test)]
mod tests;
