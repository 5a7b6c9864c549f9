//! Whole files, good and bad.

mod bad;
mod fragments;
mod good;
mod limits;
mod mutated;
mod schema;
mod together;
mod transcoding;
mod yaml;

use super::*;

/// What a file says, called `services.yaml`, on a machine of `cluster.local`.
fn services(text: &str) -> Result<Services, Problems> {
    parse(&[named("services.yaml", text)], "cluster.local")
}

fn named(path: &str, text: &str) -> Text {
    Text { path: PathBuf::from(path), text: text.to_owned() }
}

/// All that is wrong with it, as an operator sees it.
fn told(text: &str) -> String {
    services(text).map_or_else(|problems| problems.to_string(), |read| format!("{read:?}"))
}
