//! `/maintenance` of the admin socket: how it stands, and what somebody wants it to be.

use std::time::Duration;

use http::StatusCode;

use super::{
    Facts, Mesh,
    admin::{as_json, no_mesh},
    web::{Reply, TEXT, whole},
};
use crate::maintenance::Standing;

/// How it stands.
pub(super) fn show(facts: &Facts) -> Reply {
    facts.mesh.as_ref().map_or_else(no_mesh, |mesh| standing(mesh, None))
}

/// The machine out of the mesh until somebody says otherwise or its time is up, or back.
pub(super) async fn change(facts: &Facts, said: impl Fn(&str) -> Option<String>) -> Reply {
    let Some(mesh) = &facts.mesh else { return no_mesh() };
    let time = said("for").map(|time| time.parse().map(Duration::from_secs)).transpose();
    let not_kept = match (said("state").as_deref(), time) {
        (Some("on"), Ok(time)) => mesh.maintenance.begin(said("reason"), time).await,
        (Some("off"), Ok(None)) => mesh.maintenance.end().await,
        _ => return whole(StatusCode::BAD_REQUEST, TEXT, EXPECTED),
    };
    standing(mesh, not_kept)
}

fn standing(mesh: &Mesh, not_kept: Option<String>) -> Reply {
    let maintenance = mesh.maintenance.spell();
    as_json(&Standing { maintenance, deaf: mesh.drain.deaf(), not_kept })
}

const EXPECTED: &str = "expected ?state=on&reason=TEXT&for=SECONDS or ?state=off\n";
