//! What is kept of the file of services: the texts in use, and the addresses of its names.
//!
//! Neither is worth a failed start: what cannot be kept or read is told, and done without.

use std::path::PathBuf;

use hawser_rt::Chain;
use hawser_services::{Addresses, file::Text};
use hawser_state::Store;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::warn;

#[derive(Serialize, Deserialize)]
struct Kept {
    path: PathBuf,
    text: String,
}

/// The texts that were in use last.
pub(super) fn texts(store: &Store) -> Option<Vec<Text>> {
    let kept: Vec<Kept> = read(store, TEXTS)?;
    Some(kept.into_iter().map(|Kept { path, text }| Text { path, text }).collect())
}

/// The addresses that names have had.
pub(super) fn addresses(store: &Store) -> Addresses {
    read(store, ADDRESSES).unwrap_or_default()
}

/// Keeps both.
pub(super) fn keep(store: &Store, texts: &[Text], addresses: &Addresses) {
    let kept =
        texts.iter().map(|Text { path, text }| Kept { path: path.clone(), text: text.clone() });
    write(store, TEXTS, &kept.collect::<Vec<_>>());
    write(store, ADDRESSES, addresses);
}

fn read<T: DeserializeOwned>(store: &Store, name: &str) -> Option<T> {
    let body = match store.read(name, VERSION) {
        Ok(body) => body?,
        Err(error) => {
            warn!(error = %Chain(&error), "what was kept of the services cannot be read");
            return None;
        }
    };
    match serde_json::from_slice(&body) {
        Ok(kept) => Some(kept),
        Err(error) => {
            // It is whole, and not what this version writes.
            store.set_aside(name, &error.to_string()).ok();
            None
        }
    }
}

/// What is there already is not written again.
fn write(store: &Store, name: &str, kept: &impl Serialize) {
    let Ok(body) = serde_json::to_vec(kept) else { return };
    if store.read(name, VERSION).is_ok_and(|there| there.is_some_and(|there| *there == body)) {
        return;
    }
    if let Err(error) = store.write(name, VERSION, &body) {
        warn!(
            error = %Chain(&error),
            "services are not kept: should the file be damaged, a start would be without them"
        );
    }
}

const VERSION: u16 = 1;
const TEXTS: &str = "services";
const ADDRESSES: &str = "addresses";
