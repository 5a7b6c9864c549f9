//! The pair on disk: what makes a reboot without token and without istiod harmless.

use hawser_pki::{Bundle, Chain, Identity, PrivateKey, SpiffeId};
use hawser_rt::Chain as Causes;
use hawser_state::Store;
use tracing::warn;
use zeroize::Zeroizing;

/// The file in the state directory.
pub const FILE: &str = "identity";
const VERSION: u16 = 1;

/// Writes key, chain and roots, each behind its length.
pub(crate) fn keep(store: &Store, identity: &Identity) -> Result<(), hawser_state::Error> {
    let parts = [identity.key.pem(), identity.chain.pem(), identity.roots.pem()];
    // Reserved whole, so that no outgrown buffer keeps a copy of the key.
    let length = parts.iter().map(|part| part.len() + 4).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(length));
    for part in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(part.as_bytes());
    }
    store.write(FILE, VERSION, &body)
}

/// What was kept for `id`. What is for somebody else, or does not fit together, is set aside and
/// named. Whether it is valid is for the caller to ask, and to ask again: the clock may be wrong.
pub(crate) fn kept(store: &Store, id: &SpiffeId) -> Option<Identity> {
    let body = match store.read(FILE, VERSION) {
        Ok(body) => body?,
        Err(error) => {
            warn!(error = %Causes(&error), "kept certificate cannot be read");
            return None;
        }
    };
    let judged = parse(&body).and_then(|identity| match identity.spiffe_id() {
        kept if kept == id => Ok(identity),
        kept => Err(format!("it is for {kept}, and this machine is {id} now")),
    });
    match judged {
        Ok(identity) => Some(identity),
        Err(reason) => {
            if let Err(error) = store.set_aside(FILE, &reason) {
                warn!(error = %Causes(&error), reason, "kept certificate cannot be set aside");
            }
            None
        }
    }
}

fn parse(body: &[u8]) -> Result<Identity, String> {
    let mut rest = body;
    let (Some(key), Some(chain), Some(roots)) = (part(&mut rest), part(&mut rest), part(&mut rest))
    else {
        return Err("it does not hold key, chain and roots".to_owned());
    };
    let identity = || {
        let (key, chain) = (PrivateKey::from_pem(key)?, Chain::from_pem(chain)?);
        Identity::new(key, chain, Bundle::from_pem(roots)?)
    };
    identity().map_err(|error| Causes(&error).to_string())
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (text, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = tail;
    std::str::from_utf8(text).ok()
}
