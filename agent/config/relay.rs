//! Configuration for Envoy: how it is carried, what of it is kept, and for which Envoy it has to
//! fit.

use std::{path::PathBuf, time::Duration};

use hawser_wasm::Cidr;

use super::{Reader, accounts, parse};

/// How configuration is carried.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Whether Envoy asks for differences.
    pub delta: bool,
    /// Whether istiod is asked for more roots to trust.
    pub trust_bundle: bool,
    /// How long Envoy waits for istiod before it is given what it took last.
    pub stale_after: Duration,
    /// How many bytes of what Envoy took may be kept on disk.
    pub keep: u64,
    /// How many versions of each type can be listed.
    pub versions: usize,
    /// A group whose users may ask for configuration.
    pub group: Option<u32>,
    /// Which Envoy it has to fit.
    pub compat: Compat,
    /// Remote modules, if the agent is to fetch them.
    pub wasm: Option<Wasm>,
}

/// Whose build of Envoy there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    /// Envoy itself tells what it can load.
    Auto,
    /// A build without Istio's filters.
    Stock,
    /// Istio's build: everything passes untouched.
    Istio,
}

/// How Wasm modules are fetched and kept.
#[derive(Debug, Clone)]
pub struct Wasm {
    /// How long one request may take.
    pub timeout: Duration,
    /// How often it is tried.
    pub attempts: u32,
    /// How large a module may be.
    pub largest: u64,
    /// Registries whose certificates are not checked.
    pub insecure: Vec<String>,
    /// Networks that nothing is fetched from.
    pub blocked: Vec<Cidr>,
    /// How long an unused module is kept.
    pub expiry: Duration,
    /// How often unused ones are looked for.
    pub purge_every: Duration,
    /// Credentials for registries, as docker keeps them.
    pub keychain: Option<PathBuf>,
}

impl Reader<'_> {
    pub(super) fn relay(&mut self) -> Option<Relay> {
        let delta = self.required("xds.delta", parse::boolean);
        let trust_bundle = self.required("xds.trust_bundle", parse::boolean);
        let stale_after = self.required("xds.stale_after", parse::duration);
        let keep = self.required("xds.keep", parse::bytes);
        let versions = self.required("xds.versions", |text| {
            text.parse().ok().filter(|versions| *versions <= MOST_VERSIONS)
        });
        let group = self.optional("xds.group", accounts::group);
        let compat = self.required("envoy.compat", |text| match text {
            "auto" => Some(Compat::Auto),
            "stock" => Some(Compat::Stock),
            "istio" => Some(Compat::Istio),
            _ => None,
        });
        let wasm = self.wasm();
        Some(Relay {
            delta: delta?,
            trust_bundle: trust_bundle?,
            stale_after: stale_after?,
            keep: keep?,
            versions: versions?,
            group: group?,
            compat: compat?,
            wasm: wasm?,
        })
    }

    fn wasm(&mut self) -> Option<Option<Wasm>> {
        let fetch = self.required("wasm.fetch", parse::boolean);
        let timeout = self.required("wasm.timeout", parse::some_time);
        let attempts = self.required("wasm.attempts", |text| {
            text.parse().ok().filter(|attempts| (1..=MOST_ATTEMPTS).contains(attempts))
        });
        let largest = self.required("wasm.largest", parse::bytes);
        let insecure = self.required("wasm.insecure_registries", |text| Some(parse::words(text)));
        let blocked = self.required("wasm.blocked", |text| {
            parse::words(text).iter().map(|one| one.parse().ok()).collect::<Option<Vec<Cidr>>>()
        });
        let expiry = self.required("wasm.expiry", parse::some_time);
        let purge_every = self.required("wasm.purge_interval", parse::some_time);
        let keychain = self.optional("wasm.keychain", parse::file);
        let wasm = Wasm {
            timeout: timeout?,
            attempts: attempts?,
            largest: largest?,
            insecure: insecure?,
            blocked: blocked?,
            expiry: expiry?,
            purge_every: purge_every?,
            keychain: keychain?,
        };
        Some(fetch?.then_some(wasm))
    }
}

const MOST_VERSIONS: usize = 100;
const MOST_ATTEMPTS: u32 = 20;
