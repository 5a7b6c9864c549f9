//! Resources that Envoy could not use as they come, made fit for it.

use std::time::Duration;

use hawser_fit::{Removed, fit, touches};
use hawser_proto::type_url;
use hawser_rt::{Chain, Throttle};
use hawser_wire::{Edit, Fields, Flavour, Malformed, Value, rebuild};
use tracing::warn;

use super::Relay;
use crate::{LeftOut, session::brief};

impl Relay {
    /// Whether responses of that type are made fit.
    pub(crate) fn rewrites(&self, type_url: &str) -> bool {
        let Some(client) = self.client.get() else { return false };
        (client.loadable.is_some() && touches(type_url)) || self.localizes(type_url)
    }

    /// Whether remote modules are made local.
    fn localizes(&self, type_url: &str) -> bool {
        type_url == type_url::EXTENSION_CONFIG
            && !self.is_program()
            && self.shared.parts.modules.is_some()
    }

    /// The response made fit; none if it is. An error is why it has to be refused.
    pub(crate) async fn rewritten(
        &self,
        type_url: &str,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>, String> {
        let unreadable = |Malformed| "a resource cannot be read".to_owned();
        let fitted = self.refitted(type_url, message).map_err(unreadable)?;
        let Some(modules) = self.shared.parts.modules.as_ref().filter(|_| self.localizes(type_url))
        else {
            return Ok(fitted);
        };
        let message = fitted.as_deref().unwrap_or(message);
        let mut local = Vec::new();
        for (_, value) in values(self.flavour, message).map_err(unreadable)? {
            let made = modules.local(value).await;
            local.push(made.map_err(|error| Chain(&error).to_string())?);
        }
        let mut local = local.into_iter();
        let mut next = |_: &str, _: &[u8]| Ok(local.next().flatten());
        let changed = rewrite(self.flavour, message, &mut next).map_err(unreadable)?;
        Ok(changed.or(fitted))
    }

    /// The response without what Envoy cannot load; none if there is nothing of that in it.
    pub(super) fn refitted(
        &self,
        type_url: &str,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>, Malformed> {
        let loadable = self.client.get().and_then(|client| client.loadable.as_ref());
        let Some(loadable) = loadable.filter(|_| touches(type_url)) else { return Ok(None) };
        let mut removed = Vec::new();
        let mut cut = |type_url: &str, value: &[u8]| {
            let fitted = fit(type_url, value, loadable)?;
            removed.extend(fitted.removed);
            Ok(fitted.value)
        };
        let fitted = rewrite(self.flavour, message, &mut cut)?;
        self.left_out(&removed);
        Ok(fitted)
    }

    /// Lists what was left out, each thing once.
    fn left_out(&self, removed: &[Removed]) {
        let mut news = Vec::new();
        self.shared.seen.change(|standing| {
            for Removed { place, name, type_url, .. } in removed {
                let found = LeftOut {
                    place: format!("{place:?}"),
                    name: brief(name),
                    type_url: brief(type_url),
                };
                let known = standing.left_out.contains(&found);
                if !known && standing.left_out.len() < MOST_LEFT_OUT {
                    news.push(format!("{} {} ({})", found.place, found.name, found.type_url));
                    standing.left_out.insert(found);
                }
            }
        });
        static TOLD: Throttle = Throttle::new(Duration::from_secs(1));
        if !news.is_empty() && TOLD.allow().is_some() {
            let what = news.join(", ");
            warn!(flow = "xds", what, "this envoy cannot load it, left out");
        }
    }
}

/// The type and the value of each resource.
fn values(flavour: Flavour, message: &[u8]) -> Result<Vec<(&str, &[u8])>, Malformed> {
    let mut values = Vec::new();
    for field in Fields::new(message) {
        let (RESOURCES, resource) = field? else { continue };
        let any = match flavour {
            Flavour::Sotw => Some(resource),
            Flavour::Delta => Fields::last(resource.bytes()?, RESOURCE)?,
        };
        if let Some(any) = any {
            values.push(parts(any.bytes()?)?);
        }
    }
    Ok(values)
}

/// Asks about each resource, in the order of [`values`], and puts what it is told in its place.
fn rewrite(
    flavour: Flavour,
    message: &[u8],
    ask: &mut impl FnMut(&str, &[u8]) -> Result<Option<Vec<u8>>, Malformed>,
) -> Result<Option<Vec<u8>>, Malformed> {
    rebuild(message, &mut |number, resource| match (number, flavour) {
        (RESOURCES, Flavour::Sotw) => any(resource, ask),
        (RESOURCES, Flavour::Delta) => {
            let mut inside = |number, value: Value<'_>| {
                if number == RESOURCE { any(value, ask) } else { Ok(Edit::Keep) }
            };
            edit(rebuild(resource.bytes()?, &mut inside)?)
        }
        _ => Ok(Edit::Keep),
    })
}

fn any(
    message: Value<'_>,
    ask: &mut impl FnMut(&str, &[u8]) -> Result<Option<Vec<u8>>, Malformed>,
) -> Result<Edit, Malformed> {
    let message = message.bytes()?;
    let (type_url, value) = parts(message)?;
    let Some(value) = ask(type_url, value)? else { return Ok(Edit::Keep) };
    edit(rebuild(message, &mut |number, _| {
        Ok(if number == VALUE { Edit::Replace(value.clone()) } else { Edit::Keep })
    })?)
}

fn edit(changed: Option<Vec<u8>>) -> Result<Edit, Malformed> {
    Ok(changed.map_or(Edit::Keep, Edit::Replace))
}

/// Type and value of an `Any`.
fn parts(any: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let type_url = Fields::last(any, TYPE)?.map_or(Ok(""), |value| value.text())?;
    let value = Fields::last(any, VALUE)?.map_or(Ok(&[][..]), |value| value.bytes())?;
    Ok((type_url, value))
}

/// Of a response.
const RESOURCES: u32 = 2;
/// Of a delta `Resource`.
const RESOURCE: u32 = 2;
/// Of an `Any`.
const TYPE: u32 = 1;
const VALUE: u32 = 2;
/// As many as anybody would read.
const MOST_LEFT_OUT: usize = 256;
