//! One login, kept alive, and what is signed with it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_rt::{Backoff, Chain, Clock, files::Watch};
use http::{Method, StatusCode};
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tracing::{debug, info};
use zeroize::Zeroizing;

use crate::{
    Error, Login, Options,
    answer::{Garbled, Granted, Signature},
    lease::Lease,
    refusal::{Step, refused},
    secret::Secret,
    web::{Asked, Reply, Web},
};

/// Vault, as one machine knows it.
#[derive(Debug)]
pub struct Vault {
    web: Web,
    lease: watch::Sender<Option<Arc<Lease>>>,
    watch: Mutex<Watch>,
}

/// What a role has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// PEM, leaf first; it may end with the root.
    pub chain: Vec<String>,
    /// Who we were to Vault.
    pub login: String,
}

/// What is sent to `pki/sign/ROLE`.
#[derive(Serialize)]
struct Signing<'a> {
    csr: &'a str,
    /// What the request says, for a role that does not read it (`use_csr_sans = false`).
    uri_sans: &'a str,
    ttl: String,
    format: &'static str,
}

impl Vault {
    /// Nothing is read or asked yet; the files of the login are watched from now on. Needs a
    /// tokio runtime.
    pub fn new(options: Options, clock: Clock) -> Self {
        let watch = Mutex::new(Watch::new(options.login.files()));
        Self { web: Web { options, clock }, lease: watch::Sender::new(None), watch }
    }

    /// Where it is.
    pub fn address(&self) -> String {
        self.web.options.address.to_string()
    }

    /// Returns when a file of the login has changed. Cancel safe, for one to wait.
    pub async fn changed(&self) {
        self.watch.lock().await.changed().await;
    }

    /// Has a request signed for `id`. A token that is refused is followed by another login, once.
    pub async fn sign(&self, csr: &str, id: &str, ttl: Duration) -> Result<Signed, Error> {
        let (lease, kept) = self.shown().await?;
        let signed = match self.signature(&lease, csr, id, ttl).await {
            Err(error) if error.is_denial() && kept => {
                debug!(error = %Chain(&error), "Vault does not take the token any more");
                self.lose(&lease);
                let lease = self.login().await?;
                self.signature(&lease, csr, id, ttl).await
            }
            outcome => outcome,
        };
        let chain = signed?.chain;
        Ok(Signed { chain, login: self.web.options.login.name() })
    }

    /// Keeps the token alive. Never ends.
    pub async fn renewals(&self) {
        let mut leases = self.lease.subscribe();
        let mut backoff = Backoff::new(FIRST, LAST);
        let mut again = None;
        loop {
            let lease = leases.borrow_and_update().clone();
            let renewal = lease.and_then(|lease| Some((lease.renewal()?, lease)));
            let Some((renewal, lease)) = renewal else {
                if leases.changed().await.is_err() {
                    return std::future::pending().await;
                }
                continue;
            };
            let due = again.unwrap_or(renewal).max(renewal);
            if self.now() < due {
                // Cancel safe: both only wait. After a step of the clock it is reckoned again.
                tokio::select! {
                    _ = self.web.clock.wait(due) => {}
                    _ = leases.changed() => again = None,
                }
                continue;
            }
            again = match self.renewed(&lease).await {
                Ok(()) => {
                    backoff.reset();
                    None
                }
                Err(error) if error.is_denial() || !lease.is_good_at(self.now()) => {
                    let error = Chain(&error).to_string();
                    info!(error, "token of Vault is lost, another login follows when it is needed");
                    self.lose(&lease);
                    None
                }
                Err(error) => {
                    debug!(error = %Chain(&error), "token of Vault not renewed yet");
                    Some(self.now() + backoff.next(fastrand::f64()))
                }
            };
        }
    }

    /// The token that there is, else another; and whether it was there.
    async fn shown(&self) -> Result<(Arc<Lease>, bool), Error> {
        let kept = self.lease.borrow().clone().filter(|lease| lease.is_good_at(self.now()));
        let Some(lease) = kept else { return Ok((self.login().await?, false)) };
        // Whoever keeps the token in a file may have put another one there.
        if let Login::Token { file } = &self.web.options.login
            && Secret::read(file).await? != lease.token
        {
            return Ok((self.login().await?, false));
        }
        Ok((lease, true))
    }

    async fn login(&self) -> Result<Arc<Lease>, Error> {
        let given = self.now();
        let granted = match &self.web.options.login {
            Login::Token { file } => self.looked_up(Secret::read(file).await?).await?,
            Login::AppRole { mount, role_id, secret_id } => {
                let (role, secret) = (Secret::read(role_id).await?, Secret::read(secret_id).await?);
                let body = body(&[("role_id", role.expose()), ("secret_id", secret.expose())]);
                self.logged_in(mount, body).await?
            }
            Login::Jwt { mount, role, jwt } => {
                let jwt = Secret::read(jwt).await?;
                self.logged_in(mount, body(&[("role", role), ("jwt", jwt.expose())])).await?
            }
        };
        let lease = Arc::new(Lease::of(granted, given));
        self.lease.send_replace(Some(Arc::clone(&lease)));
        Ok(lease)
    }

    async fn logged_in(&self, mount: &str, body: Zeroizing<Vec<u8>>) -> Result<Granted, Error> {
        let place = format!("auth/{mount}/login");
        let asked = Asked { method: Method::POST, place: &place, token: None, body: Some(body) };
        let reply = self.web.ask(asked).await?;
        if reply.status != StatusCode::OK {
            return Err(self.refused(Step::Login, &place, &reply));
        }
        info!(login = self.web.options.login.name(), "logged in to Vault");
        Granted::read(&reply.body).map_err(|source| self.garbled(&place, source))
    }

    /// What Vault says of a token that was there. One that may not ask is tried all the same.
    async fn looked_up(&self, token: Secret) -> Result<Granted, Error> {
        let place = "auth/token/lookup-self";
        let asked = Asked { method: Method::GET, place, token: Some(&token), body: None };
        let reply = self.web.ask(asked).await?;
        match reply.status {
            StatusCode::OK => {
                Granted::looked_up(token, &reply.body).map_err(|source| self.garbled(place, source))
            }
            _ => Err(self.refused(Step::Login, place, &reply)),
        }
    }

    async fn signature(
        &self,
        lease: &Lease,
        csr: &str,
        id: &str,
        ttl: Duration,
    ) -> Result<Signature, Error> {
        let place = self.web.options.place();
        let ttl = format!("{}s", ttl.as_secs().max(1));
        let signing = Signing { csr, uri_sans: id, ttl, format: "pem" };
        let body = Zeroizing::new(serde_json::to_vec(&signing).unwrap_or_default());
        let token = Some(&lease.token);
        let asked = Asked { method: Method::POST, place: &place, token, body: Some(body) };
        let reply = self.web.ask(asked).await?;
        if reply.status != StatusCode::OK {
            return Err(self.refused(Step::Signing, &place, &reply));
        }
        Signature::read(&reply.body).map_err(|source| self.garbled(&place, source))
    }

    async fn renewed(&self, lease: &Arc<Lease>) -> Result<(), Error> {
        let (given, place) = (self.now(), "auth/token/renew-self");
        let token = Some(&lease.token);
        let body = Some(body(&[]));
        let reply = self.web.ask(Asked { method: Method::POST, place, token, body }).await?;
        if reply.status != StatusCode::OK {
            return Err(self.refused(Step::Renewal, place, &reply));
        }
        let granted = Granted::read(&reply.body).map_err(|source| self.garbled(place, source))?;
        let renewed = Arc::new(Lease::of(granted, given));
        let next = renewed.renewal();
        // One that has come to the end of what it may live is used until then.
        self.lease.send_if_modified(|now| {
            let same = now.as_ref().is_some_and(|now| Arc::ptr_eq(now, lease));
            if same {
                *now = Some(renewed);
            }
            same
        });
        debug!(?next, "token of Vault renewed");
        Ok(())
    }

    fn refused(&self, step: Step, place: &str, reply: &Reply) -> Error {
        refused(step, &self.web.options, place, reply.status, &reply.body)
    }

    fn garbled(&self, place: &str, source: Garbled) -> Error {
        Error::Answer { vault: self.address(), place: place.to_owned(), source }
    }

    fn lose(&self, lease: &Arc<Lease>) {
        self.lease.send_if_modified(|now| {
            let same = now.as_ref().is_some_and(|now| Arc::ptr_eq(now, lease));
            if same {
                *now = None;
            }
            same
        });
    }

    fn now(&self) -> SystemTime {
        self.web.clock.now()
    }
}

/// A JSON object of texts, written into room that is wiped.
fn body(pairs: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let long: usize = pairs.iter().map(|(name, text)| name.len() + text.len()).sum();
    // Room for it all, even if each letter had to be escaped: growing would leave copies.
    let mut body = Zeroizing::new(Vec::with_capacity(long * 6 + pairs.len() * 8 + 2));
    let object: BTreeMap<_, _> = pairs.iter().copied().collect();
    // Text into memory does not fail.
    serde_json::to_writer(&mut *body, &object).ok();
    body
}

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);
