//! The certificate authority of the fake mesh.
//!
//! Signs as istiod's own CA does: the caller's identities and never those of the request, two
//! minutes back-dated, clipped to the signing certificate, empty subject and therefore a critical
//! SAN; the chain of a root that signs by itself contains the root, so an answer has it twice.
//! A clone is the same authority, so a rotation is seen by everything that holds one.
//!
//! A rotation can be taken step by step, in any order: [`TestCa::prepare`] makes the next root,
//! [`TestCa::announce`] trusts it, [`TestCa::sign_with`] and [`TestCa::serve_with`] use it,
//! [`TestCa::forget_old`] trusts no other. [`TestCa::rotate`] takes them all at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::RwLock;
use rcgen::{CertificateSigningRequestParams, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use self::authority::Generation;
use crate::time::Time;

pub(crate) use self::authority::Window;

mod authority;

/// The trust domain of the fake mesh.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// What a certificate lives when the request does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);

/// The longest life a workload may ask for.
pub const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3600);

/// What a root lives if nothing is said.
pub const ROOT_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How the signing certificate hangs on the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The root signs by itself, as in a mesh that made its own CA.
    SelfSigned,
    /// An intermediate signs, as in a mesh with a plugged-in CA.
    Intermediate,
}

/// What becomes of the old root in a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldRoot {
    /// Trusted beside the new one.
    Kept,
    /// Forgotten: who trusts only it is locked out.
    Dropped,
}

/// Which root something is signed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The one that was made last.
    Newest,
    /// The one before it, if there is one.
    Previous,
}

/// Why a request was not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The request is no PEM, no CSR, or is not signed by its own key.
    Csr(String),
    /// More life was asked for than the CA gives.
    Ttl(String),
    /// The certificate could not be made.
    Sign(String),
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Certified {
    /// PEM chain, leaf first.
    pub chain: String,
    /// PKCS#8 PEM.
    pub key: String,
}

/// The mesh's CA.
#[derive(Clone)]
pub struct TestCa {
    authority: Arc<RwLock<Authority>>,
    shape: Shape,
    time: Time,
    root_ttl: Duration,
}

struct Authority {
    /// Oldest first; at least one.
    generations: Vec<Arc<Generation>>,
    signs: Arc<Generation>,
    serves: Arc<Generation>,
    /// Trusted roots, newest first.
    roots: Vec<String>,
}

/// In what a leaf is not as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It begins so much later.
    Later(Duration),
    /// It ended so long ago.
    Ended(Duration),
    /// It belongs to another key.
    Key,
    /// A root signs it that is not among the roots given.
    Root,
}

impl TestCa {
    /// Makes an authority with a fresh root, in the system's time.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn new(shape: Shape) -> Result<Self> {
        Self::at(shape, &Time::default())
    }

    /// Makes an authority with a fresh root; all it signs, roots too, is dated by this time.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn at(shape: Shape, time: &Time) -> Result<Self> {
        Self::with_root_ttl(shape, time, ROOT_TTL)
    }

    /// The same with roots that live so long, the later ones too.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn with_root_ttl(shape: Shape, time: &Time, root_ttl: Duration) -> Result<Self> {
        let first = Arc::new(Generation::new(shape, time.now(), root_ttl)?);
        let authority = Authority {
            roots: vec![first.root.clone()],
            signs: Arc::clone(&first),
            serves: Arc::clone(&first),
            generations: vec![first],
        };
        let authority = Arc::new(RwLock::new(authority));
        Ok(Self { authority, shape, time: time.clone(), root_ttl })
    }

    /// The time it dates by.
    #[must_use]
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// Signs and serves with a new root from now on.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn rotate(&self, old: OldRoot) -> Result<()> {
        self.prepare()?;
        self.announce();
        self.sign_with(Root::Newest);
        self.serve_with(Root::Newest);
        if old == OldRoot::Dropped {
            self.forget_old();
        }
        Ok(())
    }

    /// Makes the next root; nobody trusts it yet, and nothing is signed with it. Answers its PEM.
    ///
    /// # Errors
    /// When a key or a certificate cannot be made.
    pub fn prepare(&self) -> Result<String> {
        let next = Arc::new(Generation::new(self.shape, self.time.now(), self.root_ttl)?);
        let root = next.root.clone();
        self.authority.write().generations.push(next);
        Ok(root)
    }

    /// Trusts the newest root beside those that are trusted.
    pub fn announce(&self) {
        let mut authority = self.authority.write();
        let Some(root) = authority.generations.last().map(|newest| newest.root.clone()) else {
            return;
        };
        if !authority.roots.contains(&root) {
            authority.roots.insert(0, root);
        }
    }

    /// Signs workloads under this root from now on.
    pub fn sign_with(&self, root: Root) {
        let mut authority = self.authority.write();
        authority.signs = authority.generation(root);
    }

    /// Signs serving certificates under this root from now on.
    pub fn serve_with(&self, root: Root) {
        let mut authority = self.authority.write();
        authority.serves = authority.generation(root);
    }

    /// Trusts the newest root alone.
    pub fn forget_old(&self) {
        let mut authority = self.authority.write();
        let newest = authority.generation(Root::Newest);
        authority.roots = vec![newest.root.clone()];
    }

    /// The trusted roots as PEM, newest first.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.authority.read().roots.concat()
    }

    /// The trusted roots as rustls wants them.
    ///
    /// # Errors
    /// When rustls refuses one of them.
    pub fn roots(&self) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.root_pem().as_bytes()) {
            store.add(root.context("read own root")?).context("trust own root")?;
        }
        Ok(store)
    }

    /// Signs a workload's request for `identities` and as many seconds as it asks for; answers
    /// leaf, what is above it and, as the last element, all roots in one.
    ///
    /// # Errors
    /// A [`Refusal`], worded as istiod words it.
    pub fn sign(
        &self,
        csr: &str,
        identities: &[String],
        seconds: i64,
    ) -> Result<Vec<String>, Refusal> {
        self.sign_flawed(csr, identities, asked(seconds)?, None)
    }

    /// The same for a lifetime that was weighed already, with or without a flaw.
    pub(crate) fn sign_flawed(
        &self,
        csr: &str,
        identities: &[String],
        ttl: Duration,
        flaw: Option<Flaw>,
    ) -> Result<Vec<String>, Refusal> {
        let request = CertificateSigningRequestParams::from_pem(csr).map_err(csr_refusal)?;
        let failed = |error: anyhow::Error| Refusal::Sign(format!("{error:#}"));
        let now = self.time.now();
        let window = match flaw {
            Some(Flaw::Later(by)) => Window { from: now + by, until: now + by + ttl },
            Some(Flaw::Ended(ago)) => Window { from: now - ago - ttl, until: now - ago },
            _ => Window::starting(now, ttl),
        };
        let authority = self.authority.read();
        let mut signs = Arc::clone(&authority.signs);
        if flaw == Some(Flaw::Root) {
            let stranger = Generation::new(self.shape, now, self.root_ttl).map_err(failed)?;
            signs = Arc::new(stranger);
        }
        let leaf = if flaw == Some(Flaw::Key) {
            let other = KeyPair::generate().context("make a key").map_err(failed)?;
            signs.leaf(&other, identities, window).map_err(failed)?
        } else {
            signs.leaf(&request.public_key, identities, window).map_err(failed)?
        };
        let mut chain = vec![leaf];
        chain.extend(signs.above.iter().cloned());
        chain.push(authority.roots.concat());
        Ok(chain)
    }

    /// A certificate with key for a workload, valid from two minutes ago for `ttl` from now.
    ///
    /// # Errors
    /// When key or certificate cannot be made.
    pub fn workload(&self, identity: &str, ttl: Duration) -> Result<Certified> {
        let key = KeyPair::generate().context("make a workload key")?;
        let signs = Arc::clone(&self.authority.read().signs);
        let window = Window::starting(self.time.now(), ttl);
        let leaf = signs.leaf(&key, &[identity.to_owned()], window)?;
        Ok(signs.certified(leaf, &key))
    }

    /// One that ended so long ago.
    ///
    /// # Errors
    /// As above.
    pub fn ended(&self, identity: &str, ago: Duration) -> Result<Certified> {
        let key = KeyPair::generate().context("make a workload key")?;
        let signs = Arc::clone(&self.authority.read().signs);
        let until = self.time.now() - ago;
        let window = Window { from: until - DEFAULT_TTL, until };
        let leaf = signs.leaf(&key, &[identity.to_owned()], window)?;
        Ok(signs.certified(leaf, &key))
    }

    /// A serving certificate for DNS names or addresses, as istiod signs for itself.
    ///
    /// # Errors
    /// When key or certificate cannot be made.
    pub fn serving(&self, names: &[&str]) -> Result<Certified> {
        self.serving_for(names, Window::starting(self.time.now(), DEFAULT_TTL))
    }

    pub(crate) fn serving_for(&self, names: &[&str], window: Window) -> Result<Certified> {
        let serves = Arc::clone(&self.authority.read().serves);
        serves.serving(names, window)
    }
}

impl Certified {
    /// The serial number of its leaf in hexadecimal.
    ///
    /// # Errors
    /// When the chain has none that can be read.
    pub fn serial(&self) -> Result<String> {
        let leaf = CertificateDer::from_pem_slice(self.chain.as_bytes()).context("read a leaf")?;
        let (_, leaf) = X509Certificate::from_der(&leaf).context("read a leaf")?;
        Ok(format!("{:x}", leaf.serial))
    }
}

impl Authority {
    fn generation(&self, root: Root) -> Arc<Generation> {
        let back = match root {
            Root::Newest => 0,
            Root::Previous => 1,
        };
        let found = self.generations.iter().rev().nth(back).or(self.generations.first());
        Arc::clone(found.unwrap_or(&self.signs))
    }
}

impl std::fmt::Debug for TestCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCa").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Certified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certified").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// The SPIFFE id of a service account in the fake mesh.
#[must_use]
pub fn spiffe_id(namespace: &str, service_account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}")
}

/// The lifetime that istiod makes of the seconds in a request.
pub(crate) fn asked(seconds: i64) -> Result<Duration, Refusal> {
    // Go multiplies without looking, so an absurd wish comes out negative or small.
    let asked = u64::try_from(seconds.wrapping_mul(1_000_000_000)).unwrap_or_default();
    let asked = Duration::from_nanos(asked);
    if asked > MAX_TTL {
        return Err(Refusal::Ttl(format!(
            "requested TTL {} is greater than the max allowed TTL {}",
            go_duration(asked),
            go_duration(MAX_TTL)
        )));
    }
    Ok(if asked.is_zero() { DEFAULT_TTL } else { asked })
}

fn csr_refusal(error: rcgen::Error) -> Refusal {
    Refusal::Csr(match error {
        rcgen::Error::InvalidCertificationRequestSignature => {
            "x509: ECDSA verification failure".to_owned()
        }
        rcgen::Error::CouldNotParseCertificationRequest => {
            "certificate signing request is not properly encoded".to_owned()
        }
        other => other.to_string(),
    })
}

/// A whole number of seconds as Go prints a duration, which istiod's texts contain.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests;
