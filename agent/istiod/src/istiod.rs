//! One way to istiod, and which credentials are shown on it.
//!
//! A dial shows one presentation. Those that TLS rejects fall through to the next within one
//! [`Istiod::connect`]; those that a call refuses are remembered for the next one.

use std::{sync::Arc, time::Duration};

use hawser_pki::Bundle;
use hawser_rt::{Chain, Clock, Throttle};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::ServerName;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tonic::metadata::MetadataMap;
use tracing::{debug, warn};

use crate::{
    Connection, Credentials, Endpoint, Error, Hosts, Roots, Shown,
    connection::Presented,
    credential::{Certificate, Purse, WANTS_A_TOKEN},
    dial::{Dialled, Show},
    error::Verdict,
    headers,
    health::{Health, Spot},
    presentation::{Mark, Marks, Memory, Next, Origin, Presentation},
    roots::Believed,
};

/// Where istiod is and whom we believe to be it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens, best first; at least one. Those that have failed lately are tried last.
    pub endpoints: Vec<Endpoint>,
    /// What its certificate must chain to.
    pub roots: Roots,
    /// Whether roots that came with certificates are believed too. Not where somebody has named
    /// the roots: then these are meant and no others.
    pub learned: bool,
    /// Addresses known without DNS.
    pub hosts: Hosts,
    /// Headers of every call, as `clusterid`. Names are lowered.
    pub headers: Vec<(String, String)>,
    /// For each step of each address: resolve, connect, handshake, first answer.
    pub connect_timeout: Duration,
}

/// The way to istiod. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Istiod(pub(crate) Arc<Way>);

/// What all clones of an [`Istiod`] share.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) options: Options,
    pub(crate) headers: MetadataMap,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) clock: Clock,
    pub(crate) health: Mutex<Health>,
    /// The name each endpoint's certificate has to carry.
    pub(crate) server_names: Vec<ServerName<'static>>,
    credentials: Credentials,
    learned: watch::Receiver<Option<Arc<Bundle>>>,
    memory: Mutex<Memory>,
    /// Somebody has heard istiod say something.
    heard: Notify,
    fell_back: Throttle,
}

/// Whom an address is taken for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) server_name: &'a ServerName<'static>,
}

impl Istiod {
    /// Checks the options; nothing is dialled, read or asked yet. Credentials and learned roots
    /// are looked at on each dial.
    pub fn new(
        options: Options,
        credentials: Credentials,
        learned: watch::Receiver<Option<Arc<Bundle>>>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let headers = headers::headers(&options.headers)?;
        if options.endpoints.is_empty() {
            return Err(Error::NoEndpoint);
        }
        let server_names = options.endpoints.iter().map(server_name).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Way {
            options,
            headers,
            server_names,
            health: Mutex::default(),
            provider: Arc::new(aws_lc_rs::default_provider()),
            clock,
            credentials,
            learned,
            memory: Mutex::default(),
            heard: Notify::new(),
            fell_back: Throttle::new(SELDOM),
        })))
    }

    /// The configured addresses, `host:port`.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// Whether istiod here does not heed client certificates, as far as is known: calls were not
    /// authenticated although TLS took one. istio-csr may be like that. Then a token has to be
    /// kept fresh.
    pub fn ignores_certificates(&self) -> bool {
        self.0.memory.lock().ignores_certificates()
    }

    /// Returns when istiod has answered somebody else on this way: who waits to try again may try
    /// now. Cancel safe.
    pub async fn answers(&self) {
        self.0.heard.notified().await;
    }

    /// Dials until istiod has answered. Every address of every endpoint is tried: in the given
    /// order, those of one endpoint by chance, those that have failed lately last.
    ///
    /// Shown is the best that was not refused lately. A certificate that istiod rejects is left
    /// out at once if there is something else: a token may obtain a better one.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let way = &self.0;
        let roots = way.roots().await?;
        let mut purse = way.credentials.stock().purse(roots.is_some()).await;
        let mut trial = Trial::default();
        loop {
            let now = way.clock.now();
            let next = purse.offer.next(&way.memory.lock(), &trial.set_aside(), now);
            match next {
                Next::Ask(place) => way.credentials.stock().ask(place, &mut purse).await,
                Next::Nothing => return Err(way.exhausted(trial, &purse)),
                Next::Show(shown) => match way.show(shown, &purse, roots.as_ref()).await {
                    Ok(spoken) => return Ok(self.connection(spoken, shown, &purse, &trial)),
                    Err(error) => way.failed(error, shown, &purse, &mut trial)?,
                },
            }
        }
    }

    fn connection(
        &self,
        Dialled { channel, spot, endpoint }: Dialled,
        mut shown: Presentation,
        purse: &Purse,
        trial: &Trial,
    ) -> Connection {
        if !endpoint.tls {
            shown.certificate = None;
        }
        let presented = Presented {
            way: Arc::clone(&self.0),
            what: purse.what(shown),
            marks: purse.offer.marks(shown),
            offer: purse.offer.clone(),
            suspects: trial.suspects(),
            spot,
            endpoint,
        };
        let (endpoint, peer) = (&presented.endpoint, spot.address);
        debug!(%endpoint, %peer, shown = presented.what, "connected to istiod");
        self.0.tell_rejection(trial, &presented.what);
        Connection {
            channel,
            peer,
            shown: Shown::of(shown.certificate.is_some(), shown.token.is_some()),
            headers: self.0.headers.clone(),
            authorization: purse.token(shown).and_then(headers::bearer),
            presented: Arc::new(presented),
        }
    }
}

impl Way {
    pub(crate) fn address(&self) -> String {
        let all: Vec<String> = self.options.endpoints.iter().map(Endpoint::to_string).collect();
        all.join(", ")
    }

    pub(crate) fn target(&self, spot: Spot) -> Option<Target<'_>> {
        let endpoint = self.options.endpoints.get(spot.endpoint)?;
        let server_name = self.server_names.get(spot.endpoint)?;
        Some(Target { endpoint, server_name })
    }

    /// Whom istiod has to be certified by; nobody without TLS.
    pub(crate) async fn roots(&self) -> Result<Option<Believed>, Error> {
        let Options { endpoints, roots, learned, .. } = &self.options;
        if !endpoints.iter().any(|endpoint| endpoint.tls) {
            return Ok(None);
        }
        let learned = self.learned.borrow().clone().filter(|_| *learned);
        roots.load(learned.as_deref(), self.clock.now()).await.map(Some)
    }

    async fn show(
        &self,
        shown: Presentation,
        purse: &Purse,
        roots: Option<&Believed>,
    ) -> Result<Dialled, Error> {
        let key = purse.certificate(shown).map(|certificate| Arc::clone(&certificate.key));
        self.dial(Show { key, token: shown.token.is_some() }, roots).await
    }

    /// What a dial that failed means: go on without that certificate, or give up.
    fn failed(
        &self,
        error: Error,
        shown: Presentation,
        purse: &Purse,
        trial: &mut Trial,
    ) -> Result<(), Error> {
        let what = purse.what(shown);
        let certificate = purse.certificate(shown).map(|certificate| certificate.mark);
        let (Some(certificate), Some(verdict)) = (certificate, error.verdict()) else {
            return Err(trial.conclude(what, error));
        };
        if verdict == Verdict::Rejected {
            self.memory.lock().rejected(certificate, self.clock.now());
            if purse.certificate(shown).is_some_and(Certificate::is_own) {
                self.credentials.stock().disown(certificate);
            }
        }
        trial.failures.push(Failure { certificate, verdict, what, error });
        Ok(())
    }

    fn tell_rejection(&self, trial: &Trial, shown: &str) {
        let Some(failure) = trial.rejection() else { return };
        if self.fell_back.allow().is_some() {
            let error = Chain(&failure.error);
            warn!(rejected = failure.what, instead = shown, %error, "istiod rejects a certificate");
        }
    }

    /// Nothing is left to show: next time all of it is tried again.
    fn exhausted(&self, mut trial: Trial, purse: &Purse) -> Error {
        self.memory.lock().forget();
        match trial.failures.pop() {
            Some(last) => trial.conclude(last.what, last.error),
            None => Error::NothingLeft { endpoint: self.address(), refused: purse.contents() },
        }
    }

    pub(crate) fn accepted(&self, presented: &Presented) {
        self.health.lock().accepted(presented.spot, Instant::now());
        self.heard.notify_waiters();
        self.credentials.stock().used(&presented.what);
        let now = self.clock.now();
        let mut memory = self.memory.lock();
        memory.accepted(presented.marks);
        for suspect in &presented.suspects {
            memory.rejected(*suspect, now);
        }
        if !presented.suspects.is_empty() && self.fell_back.allow().is_some() {
            let instead = &presented.what;
            warn!(instead, "istiod hangs up on a certificate, and believes what else there is");
        }
        self.credentials.stock().heeded(&self.address(), !memory.ignores_certificates());
    }

    pub(crate) fn mistaken(&self, presented: &Presented) -> bool {
        let now = self.clock.now();
        let mut memory = self.memory.lock();
        memory.mistaken(presented.marks, now);
        let more = presented.offer.next(&memory, &[], now) != Next::Nothing;
        if !more {
            memory.forget();
        }
        debug!(shown = presented.what, more, "istiod takes us for somebody else");
        more
    }

    pub(crate) fn refused(&self, presented: &Presented) -> bool {
        let now = self.clock.now();
        let mut memory = self.memory.lock();
        let discovered = memory.refused(presented.marks, now);
        let mut offer = presented.offer.clone();
        if let Marks { certificate: None, token: Some(token) } = presented.marks
            && token.origin == Origin::Asked
        {
            self.credentials.stock().token_refused(token.source);
            offer.ask_again(token.source);
        }
        let more = offer.next(&memory, &[], now) != Next::Nothing;
        if !more {
            memory.forget();
        }
        if discovered {
            let endpoint = self.address();
            self.credentials.stock().heeded(&endpoint, false);
            warn!(%endpoint, remedy = WANTS_A_TOKEN, "client certificates are ignored here");
        }
        debug!(shown = presented.what, more, "istiod does not believe what was shown");
        more
    }
}

fn server_name(endpoint: &Endpoint) -> Result<ServerName<'static>, Error> {
    let name = endpoint.verified_name().to_owned();
    ServerName::try_from(name.clone()).ok().ok_or(Error::ServerName { name })
}

/// What one [`Istiod::connect`] has been through.
#[derive(Debug, Default)]
struct Trial {
    failures: Vec<Failure>,
}

/// A dial that may have failed by its certificate.
#[derive(Debug)]
struct Failure {
    certificate: Mark,
    verdict: Verdict,
    what: String,
    error: Error,
}

impl Trial {
    /// What is not shown again. A connection that broke without a word may have met an istiod
    /// that is just restarting: only if it happens twice is it taken for an answer.
    fn set_aside(&self) -> Vec<Mark> {
        let rejected = self.failures.iter().filter(|failure| failure.verdict == Verdict::Rejected);
        rejected.map(|failure| failure.certificate).chain(self.suspects()).collect()
    }

    fn rejection(&self) -> Option<&Failure> {
        self.failures.iter().find(|failure| failure.verdict == Verdict::Rejected)
    }

    /// Certificates on which the connection broke without a word, twice. Only if istiod believes
    /// what was shown instead is it clear that it was they.
    fn suspects(&self) -> Vec<Mark> {
        let cut = |failure: &&Failure| failure.verdict == Verdict::CutOff;
        let mut marks: Vec<Mark> = Vec::new();
        for failure in self.failures.iter().filter(cut) {
            let times = self.failures.iter().filter(cut);
            let times = times.filter(|other| other.certificate == failure.certificate).count();
            if times > 1 && !marks.contains(&failure.certificate) {
                marks.push(failure.certificate);
            }
        }
        marks
    }

    /// The one error that says most: the first clear rejection, which tells what else was tried,
    /// else what was heard in the end.
    fn conclude(&mut self, what: String, error: Error) -> Error {
        let mut told: Vec<(String, Error)> =
            self.failures.drain(..).map(|failure| (failure.what, failure.error)).collect();
        let clear = told.iter().position(|(_, error)| error.verdict() == Some(Verdict::Rejected));
        let first = match clear {
            Some(clear) => {
                told.push((what, error));
                told.remove(clear).1
            }
            None => error,
        };
        let tried = told.iter().map(|(what, error)| format!("{what}: {}", error.brief()));
        first.with_tried(tried.collect())
    }
}

const SELDOM: Duration = Duration::from_secs(600);
