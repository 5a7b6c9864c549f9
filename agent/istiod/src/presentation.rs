//! What is shown to istiod next, decided from what there is and what was refused before.
//!
//! No I/O and no secrets: certificates and tokens are told apart by their marks. The order:
//!
//! 1. The first certificate with the first token at hand beside it, in case that the certificate
//!    is not heeded. A program or a service is not asked for that: a certificate has to do when
//!    they are away.
//! 2. TLS rejects the certificate: the next certificate, else the tokens alone.
//! 3. A call is not authenticated although TLS took the certificate: the certificate alone, then
//!    the tokens alone, asking for them where they have to be asked for, then other certificates.
//! 4. Tokens that have expired beyond doubt, last: it may be this machine's clock that is wrong.
//!
//! What was refused is remembered by mark, so that another token or certificate has its own
//! chance, and not for long; and when nothing is left it is forgotten at once, but for what has to
//! be asked for. So nothing is a dead end.

use std::time::{Duration, SystemTime};

/// Tells one certificate or token from another without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(pub(crate) u64);

/// What there is to show, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Valid now, each once.
    pub(crate) certificates: Vec<Mark>,
    /// One slot for each source.
    pub(crate) tokens: Vec<Slot>,
}

/// What a source of tokens holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing, and asking does not help.
    Empty,
    /// It has to be asked.
    Unasked,
    /// A token.
    Held { mark: Mark, origin: Origin, age: Age },
}

/// Whether there can be another token where this one is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It is what it is until somebody replaces it.
    File,
    /// Each time it is asked for there may be a new one.
    Asked,
}

/// What our own clock says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Not expired, or so lately that the clock may be wrong, or it does not say.
    Fresh,
    /// Expired beyond doubt.
    Stale,
}

/// What is shown on one connection: indexes into the [`Offer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presentation {
    pub(crate) certificate: Option<usize>,
    pub(crate) token: Option<usize>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Show(Presentation),
    /// The source of this index is to be asked for a token.
    Ask(usize),
    /// Everything there is has been refused.
    Nothing,
}

impl Offer {
    /// What to show next; `set_aside` are certificates that this attempt does without.
    pub(crate) fn next(&self, memory: &Memory, set_aside: &[Mark], now: SystemTime) -> Next {
        let past = Past { memory, set_aside, now };
        let show = |certificate, token| Next::Show(Presentation { certificate, token });
        let mut certificates =
            self.certificates.iter().enumerate().filter(|(_, mark)| past.may_be_shown(**mark));
        if let Some((index, certificate)) = certificates.next()
            && !past.refused(Some(*certificate), None)
        {
            let company = self.company(&past);
            let pair = company.filter(|(_, token)| !past.refused(Some(*certificate), Some(*token)));
            return show(Some(index), pair.map(|(token, _)| token));
        }
        if let Some(next) = self.token_alone(&past) {
            return next;
        }
        if let Some((index, _)) = certificates.find(|(_, mark)| !past.refused(Some(**mark), None)) {
            return show(Some(index), None);
        }
        if let Some((index, _)) = self.held(Age::Stale).find(|(_, token)| past.good(*token)) {
            return show(None, Some(index));
        }
        let bare =
            self.certificates.is_empty() && self.tokens.iter().all(|slot| *slot == Slot::Empty);
        if bare && !past.refused(None, None) { show(None, None) } else { Next::Nothing }
    }

    /// The first good token, or whom to ask for one.
    fn token_alone(&self, past: &Past<'_>) -> Option<Next> {
        self.tokens.iter().enumerate().find_map(|(index, slot)| match *slot {
            Slot::Unasked if !past.spent(index) => Some(Next::Ask(index)),
            Slot::Held { mark, origin, age: Age::Fresh } => {
                let token = Token { source: index, mark, origin };
                let alone = Presentation { certificate: None, token: Some(index) };
                past.good(token).then_some(Next::Show(alone))
            }
            _ => None,
        })
    }

    /// The token to go with a certificate. One that was refused alone is no help.
    fn company(&self, past: &Past<'_>) -> Option<(usize, Token)> {
        self.held(Age::Fresh).find(|(_, token)| past.good(*token))
    }

    fn held(&self, wanted: Age) -> impl Iterator<Item = (usize, Token)> {
        self.tokens.iter().enumerate().filter_map(move |(source, slot)| match *slot {
            Slot::Held { mark, origin, age } if age == wanted => {
                Some((source, Token { source, mark, origin }))
            }
            _ => None,
        })
    }

    /// The token of that source is gone; there may be another.
    pub(crate) fn ask_again(&mut self, source: usize) {
        if let Some(slot) = self.tokens.get_mut(source) {
            *slot = Slot::Unasked;
        }
    }

    /// The same presentation in marks: what memory keeps.
    pub(crate) fn marks(&self, presentation: Presentation) -> Marks {
        let certificate = presentation.certificate.and_then(|index| self.certificates.get(index));
        let token = presentation.token.and_then(|source| match *self.tokens.get(source)? {
            Slot::Held { mark, origin, .. } => Some(Token { source, mark, origin }),
            _ => None,
        });
        Marks { certificate: certificate.copied(), token }
    }
}

/// A token, and which source it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) source: usize,
    pub(crate) mark: Mark,
    pub(crate) origin: Origin,
}

/// What was shown on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) certificate: Option<Mark>,
    pub(crate) token: Option<Token>,
}

/// What one way to istiod has refused.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    refusals: Vec<(Refusal, SystemTime)>,
    ignores_certificates: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// TLS rejected the certificate.
    Handshake(Mark),
    /// A call was not authenticated by it.
    Call(Marks),
}

impl Memory {
    /// TLS has rejected the certificate.
    pub(crate) fn rejected(&mut self, certificate: Mark, now: SystemTime) {
        self.remember(Refusal::Handshake(certificate), now);
    }

    /// A call was not authenticated by what was shown. True if it became clear by that that
    /// certificates are not heeded here.
    pub(crate) fn refused(&mut self, shown: Marks, now: SystemTime) -> bool {
        self.remember(Refusal::Call(shown), now);
        let unheeded = shown.certificate.is_some() && shown.token.is_none();
        unheeded && !std::mem::replace(&mut self.ignores_certificates, true)
    }

    /// A call was authenticated by what was shown, as somebody else.
    pub(crate) fn mistaken(&mut self, shown: Marks, now: SystemTime) {
        match shown.certificate {
            Some(certificate) => self.rejected(certificate, now),
            None => self.remember(Refusal::Call(shown), now),
        }
    }

    /// A call was authenticated by what was shown.
    pub(crate) fn accepted(&mut self, shown: Marks) {
        if shown.certificate.is_some() && shown.token.is_none() {
            self.ignores_certificates = false;
        }
    }

    /// Starts over, because nothing is left. What kind of authority it is stays known, and so does
    /// whose tokens are not worth asking for: programs are not run for nothing at every dial.
    pub(crate) fn forget(&mut self) {
        let asked = |refusal: &Refusal| match refusal {
            Refusal::Call(Marks { certificate: None, token: Some(token) }) => {
                token.origin == Origin::Asked
            }
            _ => false,
        };
        self.refusals.retain(|(refusal, _)| asked(refusal));
    }

    /// Whether calls were not authenticated by a certificate that TLS took.
    pub(crate) fn ignores_certificates(&self) -> bool {
        self.ignores_certificates
    }

    fn remember(&mut self, refusal: Refusal, now: SystemTime) {
        self.refusals.retain(|(before, at)| *before != refusal && is_recent(*at, now));
        if self.refusals.len() == MOST_REFUSALS {
            self.refusals.remove(0);
        }
        self.refusals.push((refusal, now));
    }
}

/// What is remembered at a moment.
struct Past<'a> {
    memory: &'a Memory,
    set_aside: &'a [Mark],
    now: SystemTime,
}

impl Past<'_> {
    fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        let recent = self.memory.refusals.iter().filter(|(_, at)| is_recent(*at, self.now));
        recent.map(|(refusal, _)| refusal)
    }

    fn may_be_shown(&self, certificate: Mark) -> bool {
        !self.set_aside.contains(&certificate)
            && !self.refusals().any(|refusal| *refusal == Refusal::Handshake(certificate))
    }

    fn refused(&self, certificate: Option<Mark>, token: Option<Token>) -> bool {
        let shown = Refusal::Call(Marks { certificate, token });
        self.refusals().any(|refusal| *refusal == shown)
    }

    /// Whether a token may yet be taken alone.
    fn good(&self, token: Token) -> bool {
        let spent = token.origin == Origin::Asked && self.spent(token.source);
        !spent && !self.refused(None, Some(token))
    }

    /// Whether a source that has to be asked is not worth it for now. Its token may have been
    /// an old one, so it has a second chance; that each of its tokens is new must not keep us
    /// asking without a pause.
    fn spent(&self, source: usize) -> bool {
        let alone = |refusal: &&Refusal| match refusal {
            Refusal::Call(Marks { certificate: None, token: Some(token) }) => {
                token.source == source
            }
            _ => false,
        };
        self.refusals().filter(alone).count() >= CHANCES
    }
}

/// A clock that was set back makes the past the future: that counts as long ago.
fn is_recent(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|ago| ago < REMEMBERED)
}

const REMEMBERED: Duration = Duration::from_secs(600);
const CHANCES: usize = 2;
/// More than there are credentials; files may be replaced faster than refusals are forgotten.
const MOST_REFUSALS: usize = 64;

#[cfg(test)]
mod tests;
