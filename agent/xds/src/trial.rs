//! A way for fuzzing to the session, and to what is beside it, which nobody else outside has to know.

use std::sync::Arc;

use bytes::Bytes;
use hawser_proto::type_url;
use hawser_wire::{Flavour, Reader, Request};

use crate::{
    Supplied, Supply,
    beside::{OURS, Parts, Split},
    session::{Address, Asking, Changes, Sent, Session},
};

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

/// Puts what is beside the session through what the pieces say: requests, and edits of what is made here.
/// False if the mesh was to hear of that, or what is told cannot be read.
pub fn beside<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut split = Split::new(Arc::default(), 7);
    for piece in pieces {
        let Some((what, message)) = piece.split_first() else { continue };
        let message = Bytes::copy_from_slice(message);
        if what % 4 == 3 {
            let supplied = Supplied { version: what.to_string(), body: message };
            let made = [(format!("{OURS}{}", what % 8), supplied)].into();
            split.restock(Arc::new(Supply([(type_url::CLUSTER, made)].into())));
        } else {
            let Ok(Parts { theirs, .. }) = split.hear(&message) else { return true };
            if theirs.is_some_and(|theirs| !is_of_mesh(&theirs)) {
                return false;
            }
        }
        while let Some(mut letter) = split.next(&mut |_| true) {
            let frame: Vec<_> = std::iter::from_fn(|| letter.chunk()).collect();
            let message = Bytes::from(frame.concat()).split_off(5);
            let mut reader = Reader::new(Flavour::Delta, message.len());
            if reader.push(&message, &mut |_| {}).is_err() || reader.end().is_err() {
                return false;
            }
        }
    }
    true
}

/// Whether a request has nothing in it of what is made here.
fn is_of_mesh(message: &[u8]) -> bool {
    let Ok(asking) = Asking::of(Flavour::Delta, message) else { return false };
    let held = asking.held.iter().map(|(name, _)| name);
    let mut names = asking.names.iter().chain(&asking.dropped).chain(held).chain([&asking.nonce]);
    names.all(|name| !name.starts_with(OURS))
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
