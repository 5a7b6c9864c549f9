//! Goes through one resource and rebuilds what something is left out of.

use hawser_wire::{Edit, Fields, Malformed, Value, rebuild};

use crate::{
    Fitted, Loadable, Place, Removed,
    found::tell,
    plumbing::{EXCHANGE, EXCHANGE_PROTOCOL, is_plumbing},
    schema::{EXTENSION_CONFIG, Kind, Slot, Step},
    short,
};

/// How deep messages are looked into: the deepest that istiod sends is a third of it. What is
/// deeper stays, and so is left to Envoy.
const DEEPEST: usize = 40;

/// One walk through one resource.
pub(crate) struct Walk<'a> {
    loadable: &'a Loadable,
    resource: &'a str,
    /// The type of the configuration that is being looked into, for what is told.
    inside: String,
    removed: Vec<Removed>,
    kept: Vec<Removed>,
}

/// What is known of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// This Envoy has it, or does without it.
    Fine,
    /// It may be left out.
    Out,
    /// This Envoy lacks it, and it may not be left out.
    Lacking,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(loadable: &'a Loadable, resource: &'a str) -> Self {
        let inside = String::new();
        Self { loadable, resource, inside, removed: Vec::new(), kept: Vec::new() }
    }

    pub(crate) fn end(self, value: Option<Vec<u8>>) -> Fitted {
        Fitted { value, removed: self.removed, kept: self.kept }
    }

    /// The resource; none if nothing changes.
    pub(crate) fn resource(
        &mut self,
        kind: Kind,
        value: &[u8],
    ) -> Result<Option<Vec<u8>>, Malformed> {
        if kind == Kind::TypedExtensionConfig {
            return self.delivered(value);
        }
        self.message(kind, value, 0)
    }

    fn message(
        &mut self,
        kind: Kind,
        message: &[u8],
        depth: usize,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        if depth >= DEEPEST {
            return Ok(None);
        }
        rebuild(message, &mut |number, value| match (kind.step(number), value) {
            (Step::Stay, _) | (_, Value::Number) => Ok(Edit::Keep),
            (step, Value::Bytes(bytes)) => self.field(step, bytes, depth + 1),
        })
    }

    fn field(&mut self, step: Step, bytes: &[u8], depth: usize) -> Result<Edit, Malformed> {
        match step {
            Step::Stay => Ok(Edit::Keep),
            Step::Into(kind) => self.message(kind, bytes, depth).map(edit),
            Step::Any => self.any(bytes, depth).map(edit),
            Step::Extension(slot) => self.extension(slot, bytes, depth),
            Step::PerFilter => self.per_filter(bytes),
            Step::Options => self.options(bytes, depth),
            Step::Protocol => Ok(self.protocol(bytes)),
        }
    }

    /// An extension that delivers itself: a cut in it is possible, cutting it is not.
    fn delivered(&mut self, extension: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        let slot = EXTENSION_CONFIG;
        let config = bytes_of(extension, slot.config)?;
        if config.map(|any| self.config(any)).transpose()?.unwrap_or(Verdict::Lacking)
            != Verdict::Fine
        {
            self.lacking(slot.place, extension, type_of_config(config)?)?;
        }
        self.within(slot, extension, 1)
    }

    /// An element of a list of extensions.
    fn extension(&mut self, slot: Slot, extension: &[u8], depth: usize) -> Result<Edit, Malformed> {
        if slot.optional != 0 && Fields::last(extension, slot.optional)?.is_some() {
            return Ok(Edit::Keep);
        }
        let config = bytes_of(extension, slot.config)?;
        let discovery = match slot.discovery {
            0 => None,
            number => bytes_of(extension, number)?,
        };
        let (verdict, type_url) = match (config, discovery) {
            (Some(any), None) => (self.config(any)?, type_of_config(config)?),
            (None, Some(source)) => self.discovered(source)?,
            // Neither: Envoy looks nothing up by name. Both: which one counts is Envoy's affair.
            _ => (Verdict::Lacking, type_of_config(config)?),
        };
        match verdict {
            Verdict::Fine => self.within(slot, extension, depth).map(edit),
            Verdict::Out => {
                let name = name_of(extension)?;
                tell(&mut self.removed, self.resource, slot.place, name, type_url);
                Ok(Edit::Drop)
            }
            Verdict::Lacking => {
                self.lacking(slot.place, extension, type_url)?;
                Ok(Edit::Keep)
            }
        }
    }

    /// Looks into an extension's configuration.
    fn within(
        &mut self,
        slot: Slot,
        extension: &[u8],
        depth: usize,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        rebuild(extension, &mut |number, value| match value {
            Value::Bytes(any) if number == slot.config => self.any(any, depth + 1).map(edit),
            _ => Ok(Edit::Keep),
        })
    }

    /// An `Any`, if what it holds is one that is looked into.
    fn any(&mut self, any: &[u8], depth: usize) -> Result<Option<Vec<u8>>, Malformed> {
        let type_url = text_of(any, 1)?;
        let Some(kind) = Kind::of_config(short(type_url)) else {
            return Ok(None);
        };
        let outer = std::mem::replace(&mut self.inside, type_url.to_owned());
        let built = rebuild(any, &mut |number, value| match value {
            Value::Bytes(message) if number == 2 => self.message(kind, message, depth).map(edit),
            _ => Ok(Edit::Keep),
        });
        self.inside = outer;
        built
    }

    /// What a route says to a filter. Envoy passes over it if it is optional or switches the
    /// filter off.
    fn per_filter(&mut self, entry: &[u8]) -> Result<Edit, Malformed> {
        let Some(mut config) = bytes_of(entry, 2)? else { return Ok(Edit::Keep) };
        if short(text_of(config, 1)?) == FILTER_CONFIG {
            let wrapper = bytes_of(config, 2)?.unwrap_or_default();
            if Fields::last(wrapper, 2)?.is_some() || Fields::last(wrapper, 3)?.is_some() {
                return Ok(Edit::Keep);
            }
            let Some(inner) = bytes_of(wrapper, 1)? else { return Ok(Edit::Keep) };
            config = inner;
        }
        match self.config(config)? {
            Verdict::Fine => Ok(Edit::Keep),
            Verdict::Out => {
                let (name, type_url) = (name_of(entry)?, real_type(config)?);
                tell(&mut self.removed, self.resource, Place::PerFilterConfig, name, type_url);
                Ok(Edit::Drop)
            }
            Verdict::Lacking => {
                self.lacking(Place::PerFilterConfig, entry, real_type(config)?)?;
                Ok(Edit::Keep)
            }
        }
    }

    /// What a cluster says to an extension. Envoy's list does not tell the types of these, so one
    /// that is no plumbing is taken to be fine.
    fn options(&mut self, entry: &[u8], depth: usize) -> Result<Edit, Malformed> {
        let Some(config) = bytes_of(entry, 2)? else { return Ok(Edit::Keep) };
        if self.config(config)? == Verdict::Out {
            let (name, type_url) = (name_of(entry)?, real_type(config)?);
            tell(&mut self.removed, self.resource, Place::ProtocolOptions, name, type_url);
            return Ok(Edit::Drop);
        }
        rebuild(entry, &mut |number, value| match value {
            Value::Bytes(any) if number == 2 => self.any(any, depth + 1).map(edit),
            _ => Ok(Edit::Keep),
        })
        .map(edit)
    }

    /// A protocol that is negotiated: out with the one that only the exchange speaks.
    fn protocol(&mut self, protocol: &[u8]) -> Edit {
        if protocol != EXCHANGE_PROTOCOL.as_bytes() || self.loadable.loads(EXCHANGE) {
            return Edit::Keep;
        }
        tell(&mut self.removed, self.resource, Place::Alpn, EXCHANGE_PROTOCOL, &self.inside);
        Edit::Drop
    }

    /// What is known of a configuration in an `Any`.
    fn config(&self, any: &[u8]) -> Result<Verdict, Malformed> {
        real_type(any).map(|type_url| self.verdict(type_url))
    }

    fn verdict(&self, type_url: &str) -> Verdict {
        if self.loadable.loads(type_url) {
            Verdict::Fine
        } else if is_plumbing(type_url) {
            Verdict::Out
        } else {
            Verdict::Lacking
        }
    }

    /// What is known of an extension that is to come by itself: Envoy wants to have each of the
    /// types that it may be of. And one of the types that would not do.
    fn discovered<'b>(&self, source: &'b [u8]) -> Result<(Verdict, &'b str), Malformed> {
        let mut worst = (Verdict::Fine, "");
        let mut useful = false;
        for field in Fields::new(source) {
            let (4, value) = field? else { continue };
            let type_url = value.text()?;
            match self.verdict(type_url) {
                Verdict::Fine => useful = true,
                verdict if worst.0 != Verdict::Lacking => worst = (verdict, type_url),
                _ => {}
            }
        }
        // It may turn out to be something else than plumbing.
        if useful && worst.0 == Verdict::Out {
            worst.0 = Verdict::Lacking;
        }
        Ok(worst)
    }

    fn lacking(&mut self, place: Place, extension: &[u8], type_url: &str) -> Result<(), Malformed> {
        let name = name_of(extension)?;
        tell(&mut self.kept, self.resource, place, name, type_url);
        Ok(())
    }
}

fn edit(built: Option<Vec<u8>>) -> Edit {
    built.map_or(Edit::Keep, Edit::Replace)
}

/// The last field of that number, if it holds bytes; that is the one that counts.
fn bytes_of(message: &[u8], number: u32) -> Result<Option<&[u8]>, Malformed> {
    Ok(match Fields::last(message, number)? {
        Some(Value::Bytes(bytes)) => Some(bytes),
        Some(Value::Number) | None => None,
    })
}

/// The last field of that number as text, or nothing.
fn text_of(message: &[u8], number: u32) -> Result<&str, Malformed> {
    Ok(match Fields::last(message, number)? {
        Some(value @ Value::Bytes(_)) => value.text()?,
        Some(Value::Number) | None => "",
    })
}

/// Extensions and entries of maps have it in the same place.
fn name_of(message: &[u8]) -> Result<&str, Malformed> {
    text_of(message, 1)
}

fn type_of_config(config: Option<&[u8]>) -> Result<&str, Malformed> {
    config.map_or(Ok(""), real_type)
}

/// The type in an `Any`, or the one that a `TypedStruct` in it stands for.
fn real_type(any: &[u8]) -> Result<&str, Malformed> {
    let type_url = text_of(any, 1)?;
    if !TYPED_STRUCTS.contains(&short(type_url)) {
        return Ok(type_url);
    }
    text_of(bytes_of(any, 2)?.unwrap_or_default(), 1)
}

const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";
