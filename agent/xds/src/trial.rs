//! A way for fuzzing to the session, which nobody else outside has to know.

use bytes::Bytes;
use hawser_wire::{Flavour, Reader, Request};

use crate::session::{Address, Changes, Sent, Session};

/// Puts a session through what the pieces say: the first byte of each says what happens, the rest
/// is the message. False if something passed to a source that must not.
pub fn session<'a>(flavour: Flavour, pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut session = Session::<()>::new(flavour, Address::default());
    let mut kept = 0_u64;
    for piece in pieces {
        let Some((what, message)) = piece.split_first() else { continue };
        let message = Bytes::copy_from_slice(message);
        match what % 8 {
            0 | 1 => {
                if session.request(&message).is_err() {
                    return true;
                }
            }
            2 => session.begin(),
            3 => session.end(),
            4 | 5 => answer(flavour, &mut session, &message),
            6 => {
                if let Some(wish) = session.wish() {
                    kept += 1;
                    let sent = Sent { nonce: format!("kept/{kept}"), ..Sent::broken() };
                    session.replayed(&wish.type_url, Some(Sent { broken: false, ..sent }));
                }
            }
            _ => session.health(Some(Err(String::from_utf8_lossy(&message).into_owned()))),
        }
        while let Some(request) = session.next_request() {
            let foreign = |it: Request<'_>| it.nonce.starts_with("kept/");
            if Request::scan(flavour, &request).is_ok_and(foreign) {
                return false;
            }
        }
    }
    true
}

fn answer(flavour: Flavour, session: &mut Session<()>, message: &Bytes) {
    let mut reader = Reader::new(flavour, message.len());
    if reader.push(message, &mut |_| {}).is_err() {
        return;
    }
    let Ok(tail) = reader.end() else { return };
    // Nobody else calls a response like that.
    if session.passes(&tail.type_url) && !tail.nonce.starts_with("kept/") {
        session.heard();
        let mut changes = Changes::default();
        changes.came(&tail.version, &tail.nonce);
        let (nonce, version, receipt) = (tail.nonce, tail.version, None);
        session.sent(&tail.type_url, Sent { nonce, version, changes, receipt, broken: false });
    }
}
