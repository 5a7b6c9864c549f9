//! The pair on disk: what makes a reboot without token and without istiod harmless.
//!
//! ```text
//! key | chain | roots | (until 8, roots)*      each text behind its length, 4 bytes, big endian
//! ```
//!
//! The last part is what was believed before and is still: see [`crate::trust`]. The file is plain
//! or sealed as a whole, by [`SealKey`].

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hawser_pki::{Bundle, Chain, Identity, PrivateKey, SpiffeId};
use hawser_rt::Chain as Causes;
use hawser_state::Store;
use tracing::warn;
use zeroize::Zeroizing;

use crate::{
    Error, SealKey, seal,
    trust::{Retired, Trust},
};

/// The file in the state directory.
pub const FILE: &str = "identity";
/// The version of what is in it.
pub const VERSION: u16 = 1;

/// What was kept.
#[derive(Debug)]
pub struct Kept {
    /// The pair, which fits. Whether it is valid is for the caller to ask, and to ask again: the
    /// clock may be wrong.
    pub identity: Arc<Identity>,
    /// Whether it took a key to read it.
    pub sealed: bool,
    pub(crate) trust: Trust,
}

/// What was kept for `id`, if anything was. What cannot be used stays where it is.
pub fn kept(store: &Store, seal: Option<&SealKey>, id: &SpiffeId) -> Result<Option<Kept>, Error> {
    read(store)?.map(|body| kept_in(body, seal, id)).transpose()
}

/// What this body of the file holds for `id`. Pure.
pub fn kept_in(
    body: Zeroizing<Vec<u8>>,
    seal: Option<&SealKey>,
    id: &SpiffeId,
) -> Result<Kept, Error> {
    let (body, sealed) = unsealed(body, seal)?;
    let (identity, trust) = parse(&body)?;
    if identity.spiffe_id() != Some(id) {
        let kept = identity.name().to_owned();
        return Err(Error::KeptForOther { kept, expected: Box::new(id.clone()) });
    }
    Ok(Kept { identity: Arc::new(identity), sealed, trust })
}

fn read(store: &Store) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    store.read(FILE, VERSION).map_err(|source| Error::ReadKept { source })
}

type Unsealed = (Zeroizing<Vec<u8>>, bool);

/// The plain body, and whether it was sealed.
fn unsealed(body: Zeroizing<Vec<u8>>, seal: Option<&SealKey>) -> Result<Unsealed, Error> {
    if !seal::is_sealed(&body) {
        return Ok((body, false));
    }
    let seal = seal.ok_or(Error::Sealed)?;
    let body = seal.open(&body).map_err(|source| Error::OpenKept { source })?;
    Ok((body, true))
}

/// Where the pair is kept, and how. Blocks: for a thread that may.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    pub(crate) store: Arc<Store>,
    pub(crate) seal: Option<SealKey>,
    pub(crate) id: SpiffeId,
}

impl Keeper {
    /// What was kept. What is plain although there is a key is sealed now; what can never be used
    /// is set aside; what is sealed for a key that is not there stays, because the key may come
    /// back, until something is to be kept in its place.
    pub(crate) fn load(&self) -> Option<Kept> {
        match kept(&self.store, self.seal.as_ref(), &self.id) {
            Ok(kept) => {
                let mut kept = kept?;
                if self.seal.is_some() && !kept.sealed {
                    match self.keep(&kept.identity, &kept.trust) {
                        Ok(()) => kept.sealed = true,
                        Err(error) => {
                            warn!(error = %Causes(&error), "kept certificate stays unsealed");
                        }
                    }
                }
                Some(kept)
            }
            Err(error @ (Error::ReadKept { .. } | Error::Sealed | Error::OpenKept { .. })) => {
                warn!(error = %Causes(&error), "kept certificate cannot be read");
                None
            }
            Err(error) => {
                self.set_aside(&error);
                None
            }
        }
    }

    /// Puts the pair in the place of the one before, at one stroke.
    pub(crate) fn keep(&self, identity: &Identity, trust: &Trust) -> Result<(), Error> {
        let body = written(identity, trust);
        let body = match &self.seal {
            Some(seal) => seal.seal(&body).map_err(|source| Error::SealKept { source })?,
            None => body,
        };
        self.make_room();
        self.store.write(FILE, VERSION, &body).map_err(|source| Error::Keep { source })
    }

    /// What is in the way and cannot be opened is not written over.
    fn make_room(&self) {
        let Ok(Some(body)) = read(&self.store) else { return };
        if let Err(error) = unsealed(body, self.seal.as_ref()) {
            self.set_aside(&error);
        }
    }

    fn set_aside(&self, reason: &Error) {
        let reason = Causes(reason).to_string();
        if let Err(error) = self.store.set_aside(FILE, &reason) {
            warn!(error = %Causes(&error), reason, "kept certificate cannot be set aside");
        }
    }
}

fn written(identity: &Identity, trust: &Trust) -> Zeroizing<Vec<u8>> {
    let parts = [identity.key.pem(), identity.chain.pem(), identity.roots.pem()];
    let retired = trust.retired();
    // Reserved whole, so that no outgrown buffer keeps a copy of the key.
    let length = parts.iter().map(|part| part.len() + 4).sum::<usize>()
        + retired.iter().map(|one| one.roots.pem().len() + 12).sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(length));
    for part in parts {
        append(&mut body, part);
    }
    for Retired { roots, until } in retired {
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        body.extend_from_slice(&until.to_be_bytes());
        append(&mut body, roots.pem());
    }
    body
}

fn append(body: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn parse(body: &[u8]) -> Result<(Identity, Trust), Error> {
    let mut rest = body;
    let (Some(key), Some(chain), Some(roots)) = (part(&mut rest), part(&mut rest), part(&mut rest))
    else {
        return Err(Error::KeptShort);
    };
    let identity = || {
        let (key, chain) = (PrivateKey::from_pem(key)?, Chain::from_pem(chain)?);
        Identity::new(key, chain, Bundle::from_pem(roots)?)
    };
    let identity = identity().map_err(|source| Error::KeptUnfit { source: Box::new(source) })?;
    let trust = Trust::new(identity.roots.clone(), retired(rest));
    Ok((identity, trust))
}

/// What of it can be read: the pair is worth more than the roots of before.
fn retired(mut rest: &[u8]) -> Vec<Retired> {
    let mut retired = Vec::new();
    while let Some((until, tail)) = rest.split_first_chunk::<8>() {
        rest = tail;
        let until = Duration::from_secs(u64::from_be_bytes(*until));
        let until = SystemTime::UNIX_EPOCH.checked_add(until);
        let roots = part(&mut rest).and_then(|text| Bundle::from_pem(text).ok());
        let (Some(until), Some(roots)) = (until, roots) else { break };
        retired.push(Retired { roots, until });
    }
    retired
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (text, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = tail;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests;
