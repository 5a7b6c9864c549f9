//! Resources that Envoy could not use as they come, made fit for it.

use bytes::Bytes;
use hawser_fit::{Fitted, Loadable, Removed, fit, touches};
use hawser_proto::type_url;
use hawser_wasm::Modules;
use hawser_wire::{Edit, Fields, Flavour, Malformed, Value, fieldwise::opened, rebuild, write};
use tracing::{info, warn};

use super::Relay;
use crate::{Lacks, session::brief};

impl Relay {
    /// Whether responses of that type are rewritten.
    pub(crate) fn rewrites(&self, type_url: &str) -> bool {
        self.fits(type_url) || self.localizes(type_url)
    }

    /// Whether what Envoy cannot load is left out of responses of that type.
    pub(crate) fn fits(&self, type_url: &str) -> bool {
        self.loadable().is_some() && touches(type_url)
    }

    fn loadable(&self) -> Option<&Loadable> {
        self.client.get()?.loadable.as_ref()
    }

    /// Whether remote modules are made local.
    pub(crate) fn localizes(&self, type_url: &str) -> bool {
        self.modules(type_url).is_some()
    }

    /// What makes the modules of that type local.
    pub(crate) fn modules(&self, type_url: &str) -> Option<&Modules> {
        let local = type_url == type_url::EXTENSION_CONFIG && !self.is_program();
        self.shared.parts.modules.as_ref().filter(|_| local)
    }

    /// The modules that a kept response names are in use.
    pub(super) fn uses(&self, type_url: &str, message: &[u8]) -> Result<(), Malformed> {
        if let Some(modules) = self.modules(type_url) {
            for (_, value) in values(self.flavour, message)? {
                modules.in_use(value);
            }
        }
        Ok(())
    }

    /// The response without what Envoy cannot load; none if there is nothing of that in it.
    pub(crate) fn refitted(
        &self,
        type_url: &str,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>, Malformed> {
        let Some(loadable) = self.loadable().filter(|_| touches(type_url)) else { return Ok(None) };
        let mut cut = |type_url: &str, value: &[u8]| self.fit(type_url, value, loadable);
        rewrite(self.flavour, message, &mut cut)
    }

    /// One outermost field of a response made fit, in as many bytes as it had.
    pub(crate) fn field(&self, field: Bytes) -> Result<Bytes, Malformed> {
        let (Some((RESOURCES, resource)), Some(loadable)) = (opened(&field), self.loadable())
        else {
            return Ok(field);
        };
        let mut cut = |type_url: &str, value: &[u8]| self.fit(type_url, value, loadable);
        let Edit::Replace(fitted) = one(self.flavour, resource, &mut cut)? else {
            return Ok(field);
        };
        let mut into = Vec::with_capacity(field.len());
        write::bytes(&mut into, RESOURCES, &fitted);
        // Less than a field has can only be what a length has shrunk by, and then by more.
        let filled =
            field.len().checked_sub(into.len()).is_some_and(|room| write::filler(&mut into, room));
        Ok(if filled { into.into() } else { field })
    }

    fn fit(
        &self,
        type_url: &str,
        value: &[u8],
        loadable: &Loadable,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        // What cannot be read Envoy judges: its refusal is what istiod has to hear.
        let Ok(Fitted { value, removed, kept }) = fit(type_url, value, loadable) else {
            return Ok(None);
        };
        self.lacks(removed, false);
        self.lacks(kept, true);
        Ok(value)
    }

    /// Lists what Envoy cannot load, each thing once.
    fn lacks(&self, lacking: Vec<Removed>, passes: bool) {
        for Removed { place, name, type_url, .. } in lacking {
            let place = place.name().to_owned();
            let lacks = Lacks { place, name: brief(&name), type_url: brief(&type_url), passes };
            // What is known already, as nearly everything is, wakes nobody.
            if !self.shared.seen.lacks(&lacks) {
                continue;
            }
            let Lacks { place, name, type_url, .. } = lacks;
            if passes {
                warn!(
                    flow = "xds",
                    place, name, type_url, "this envoy cannot load it and refuses it"
                );
            } else {
                info!(flow = "xds", place, name, type_url, "this envoy cannot load it, left out");
            }
        }
    }
}

/// The type and the value of each resource.
pub(super) fn values(flavour: Flavour, message: &[u8]) -> Result<Vec<(&str, &[u8])>, Malformed> {
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
pub(super) fn rewrite(
    flavour: Flavour,
    message: &[u8],
    ask: &mut impl FnMut(&str, &[u8]) -> Result<Option<Vec<u8>>, Malformed>,
) -> Result<Option<Vec<u8>>, Malformed> {
    rebuild(message, &mut |number, resource| match (number, flavour) {
        (RESOURCES, _) => one(flavour, resource.bytes()?, ask),
        _ => Ok(Edit::Keep),
    })
}

/// Asks about one resource.
fn one(
    flavour: Flavour,
    resource: &[u8],
    ask: &mut impl FnMut(&str, &[u8]) -> Result<Option<Vec<u8>>, Malformed>,
) -> Result<Edit, Malformed> {
    match flavour {
        Flavour::Sotw => any(resource, ask),
        Flavour::Delta => {
            let mut inside = |number, value: Value<'_>| {
                if number == RESOURCE { any(value.bytes()?, ask) } else { Ok(Edit::Keep) }
            };
            edit(rebuild(resource, &mut inside)?)
        }
    }
}

fn any(
    message: &[u8],
    ask: &mut impl FnMut(&str, &[u8]) -> Result<Option<Vec<u8>>, Malformed>,
) -> Result<Edit, Malformed> {
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
