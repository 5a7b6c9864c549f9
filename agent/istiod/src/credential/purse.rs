//! What there is to show at the moment of a dial, read or at hand.

use std::{path::Path, sync::Arc};

use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::{
    OWN, Stock, fetched::Failed, outlook, provisioned, token_source::TokenSource,
    unusable::Unusable,
};
use crate::presentation::{Mark, Offer, Presentation, Slot};

/// Certificates and tokens, at the places they have in the [`Offer`].
#[derive(Debug, Default)]
pub(crate) struct Purse {
    pub(crate) offer: Offer,
    certificates: Vec<Certificate>,
    tokens: Vec<Option<Held>>,
}

/// A certificate that is valid now, with its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) mark: Mark,
    pub(crate) key: Arc<CertifiedKey>,
    what: String,
}

struct Held {
    text: Zeroizing<String>,
    what: String,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("what", &self.what).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Whether it is the machine's own.
    pub(crate) fn is_own(&self) -> bool {
        self.what == OWN
    }
}

impl Purse {
    pub(crate) fn certificate(&self, shown: Presentation) -> Option<&Certificate> {
        self.certificates.get(shown.certificate?)
    }

    pub(crate) fn token(&self, shown: Presentation) -> Option<&str> {
        self.tokens.get(shown.token?)?.as_ref().map(|held| held.text.as_str())
    }

    /// What is shown, in words.
    pub(crate) fn what(&self, shown: Presentation) -> String {
        let token = shown.token.and_then(|index| self.tokens.get(index)?.as_ref());
        match (self.certificate(shown), token) {
            (Some(certificate), Some(token)) => format!("{} and {}", certificate.what, token.what),
            (Some(certificate), None) => certificate.what.clone(),
            (None, Some(token)) => token.what.clone(),
            (None, None) => "nothing".to_owned(),
        }
    }

    /// All of it, in words.
    pub(crate) fn contents(&self) -> Vec<String> {
        let certificates = self.certificates.iter().map(|certificate| certificate.what.clone());
        let tokens = self.tokens.iter().flatten().map(|held| held.what.clone());
        certificates.chain(tokens).collect()
    }
}

impl Stock {
    /// What can be had without asking anybody. Without TLS there are no certificates.
    pub(crate) async fn purse(&self, tls: bool) -> Purse {
        let mut purse = Purse::default();
        if tls {
            self.add_certificates(&mut purse).await;
        }
        for (place, source) in self.options.tokens.iter().enumerate() {
            let slot = match source.file() {
                Some(_) => {
                    let obtained = source.obtain().await;
                    let token = obtained.unwrap_or_else(|error| {
                        self.pass_over(place, &source.to_string(), &error);
                        None
                    });
                    token.map_or((Slot::Empty, None), |token| self.held(source, token))
                }
                None => {
                    let kept = self.fetched.get(place).and_then(|it| it.kept(self.clock.now()));
                    kept.map_or((Slot::Unasked, None), |token| self.held(source, token))
                }
            };
            purse.offer.tokens.push(slot.0);
            purse.tokens.push(slot.1);
        }
        purse
    }

    /// Asks a source for a token, and puts it into the purse.
    pub(crate) async fn ask(&self, place: usize, purse: &mut Purse) {
        let mut filled = (Slot::Empty, None);
        if let (Some(source), Some(fetched)) =
            (self.options.tokens.get(place), self.fetched.get(place))
        {
            match fetched.ask(source, &self.clock).await {
                Ok(Some(token)) => filled = self.held(source, token),
                Ok(None) | Err(Failed::Elsewhere) => {}
                Err(Failed::Here(error)) => self.pass_over(place, &source.to_string(), &error),
            }
        }
        if let (Some(slot), Some(held)) =
            (purse.offer.tokens.get_mut(place), purse.tokens.get_mut(place))
        {
            (*slot, *held) = filled;
        }
    }

    fn held(&self, source: &TokenSource, text: Zeroizing<String>) -> (Slot, Option<Held>) {
        let slot = Slot::Held {
            mark: self.mark(text.as_bytes()),
            origin: source.origin(),
            age: outlook::age(&text, self.clock.now()),
        };
        (slot, Some(Held { text, what: source.to_string() }))
    }

    async fn add_certificates(&self, purse: &mut Purse) {
        let (now, place) = (self.clock.now(), self.options.tokens.len());
        let own = self.identity.borrow().clone();
        if let Some(own) = own.filter(|own| own.valid_at(now)) {
            match provisioned::certified(&own.chain, own.key.der(), &self.provider) {
                Ok(key) => self.add(purse, &own.chain, key, OWN.to_owned()),
                Err(source) => self.pass_over(place, OWN, &Unusable::OwnKey { source }),
            }
        }
        let Some(directory) = &self.options.provisioned else { return };
        let what = provisioned(directory);
        let unusable = match provisioned::read(directory, &self.provider).await {
            Ok(Some(pair)) => match self.unfit(&pair.chain, now) {
                None => {
                    self.add(purse, &pair.chain, pair.key, what.clone());
                    None
                }
                Some(note) => Some(Unusable::Unfit { note }),
            },
            Ok(None) => None,
            Err(error) => Some(error),
        };
        // What is left there of old is no news while there is an own certificate.
        if let Some(error) = unusable.filter(|_| purse.certificates.is_empty()) {
            self.pass_over(place, &what, &error);
        }
    }

    fn add(
        &self,
        purse: &mut Purse,
        chain: &hawser_pki::Chain,
        key: Arc<CertifiedKey>,
        what: String,
    ) {
        let mark = self.mark(chain.leaf_der());
        // The pair in the directory may be the own one, put there for other programs.
        if !purse.offer.certificates.contains(&mark) {
            purse.offer.certificates.push(mark);
            purse.certificates.push(Certificate { mark, key, what });
        }
    }
}

/// The name of a provisioned pair.
pub(crate) fn provisioned(directory: &Path) -> String {
    format!("provisioned certificate in {}", directory.display())
}
