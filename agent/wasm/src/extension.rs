//! A filter as istiod sends it, and as Envoy gets it.
//!
//! It is decoded to be understood, and edited on the wire: what this build does not know of it
//! reaches Envoy all the same.

mod replacement;
mod structure;

use std::time::Duration;

use hawser_proto::envoy::{
    envoy::{
        config::core::v3::{RemoteDataSource, TypedExtensionConfig, async_data_source::Specifier},
        extensions::{
            filters::http::wasm::v3::Wasm,
            wasm::v3::{EnvironmentVariables, FailurePolicy, PluginConfig, plugin_config::Vm},
        },
    },
    google::protobuf::Any,
};
use hawser_wire::{Edit, Fields, Malformed, Value, rebuild, write};
use prost::Message as _;
use zeroize::Zeroizing;

use crate::Error;

pub(crate) use replacement::replacement;

/// Where in Envoy the filter works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Network,
}

/// When a module is asked for again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Policy {
    /// As `IfNotPresent`, but `Always` for images of the tag `latest`.
    #[default]
    Unspecified,
    IfNotPresent,
    Always,
}

/// What happens to traffic when the module cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    Open,
    Closed,
}

/// A filter whose module is somewhere else.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) failing: Failing,
    pub(crate) url: String,
    /// As it was given, if it was.
    pub(crate) checksum: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) policy: Policy,
    /// The version of the resource that the filter came from.
    pub(crate) version: String,
    /// A dockerconfigjson; there, but empty, if istiod did not find it.
    pub(crate) secret: Option<Zeroizing<String>>,
    /// The `Wasm` message.
    filter: Vec<u8>,
}

impl Remote {
    /// Understands an extension (`TypedExtensionConfig`); `None` if it has nothing to fetch.
    pub(crate) fn read(extension: &[u8]) -> Result<Option<Self>, Error> {
        let Some((name, kind, filter)) = wasm(extension)? else { return Ok(None) };
        let undecodable = |source| Error::Message { what: "Wasm filter", source };
        let config = Wasm::decode(filter.as_slice()).map_err(undecodable)?.config;
        let config = config.unwrap_or_default();
        let failing = failing(&config);
        let vm = config.vm.map(|Vm::VmConfig(vm)| vm).unwrap_or_default();
        let source = match vm.code.and_then(|code| code.specifier) {
            Some(Specifier::Remote(source)) => source,
            Some(Specifier::Local(_)) => return Ok(None),
            None => return Err(Error::NoCode { name }),
        };
        let told = Told::of(vm.environment_variables.unwrap_or_default());
        let RemoteDataSource { http_uri, sha256, .. } = source;
        let uri = http_uri.unwrap_or_default();
        Ok(Some(Self {
            name,
            kind,
            failing,
            url: uri.uri,
            checksum: Some(sha256).filter(|text| !text.is_empty() && text != NO_CHECKSUM),
            timeout: uri.timeout.and_then(|said| {
                let (seconds, nanos) = (said.seconds, said.nanos);
                Some(Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?))
            }),
            policy: told.policy,
            version: told.version,
            secret: told.secret,
            filter,
        }))
    }

    /// The extension with the file in the place of the address.
    pub(crate) fn local(&self, extension: &[u8], file: &str) -> Result<Vec<u8>, Error> {
        self.edited(extension, file)
            .map_err(|source| Error::Undecodable { what: "Wasm filter", source })
    }

    fn edited(&self, extension: &[u8], file: &str) -> Result<Vec<u8>, Malformed> {
        let filter = rebuilt(&self.filter, &mut |number, value| match number {
            1 => replaced(value, |config| plugin(config, file)),
            _ => Ok(Edit::Keep),
        })?;
        let mut any = Some(self.any(filter));
        rebuilt(extension, &mut |number, _| match number {
            2 => Ok(any.take().map_or(Edit::Drop, Edit::Replace)),
            _ => Ok(Edit::Keep),
        })
    }

    fn any(&self, value: Vec<u8>) -> Vec<u8> {
        let name = match self.kind {
            Kind::Http => HTTP,
            Kind::Network => NETWORK,
        };
        Any { type_url: format!("type.googleapis.com/{name}"), value }.encode_to_vec()
    }
}

/// The name of an extension and the file its module is, if it is one.
pub(crate) fn file_of(extension: &[u8]) -> Option<(String, String)> {
    let (name, _, filter) = wasm(extension).ok().flatten()?;
    let Vm::VmConfig(vm) = Wasm::decode(filter.as_slice()).ok()?.config?.vm?;
    let Specifier::Local(source) = vm.code?.specifier? else { return None };
    let at = Fields::last(&source.encode_to_vec(), 1).ok()??.text().ok()?.to_owned();
    Some((name, at))
}

/// The name, kind and `Wasm` message of an extension that is a Wasm filter.
fn wasm(extension: &[u8]) -> Result<Option<(String, Kind, Vec<u8>)>, Error> {
    let undecodable = |source| Error::Message { what: "TypedExtensionConfig", source };
    let extension = TypedExtensionConfig::decode(extension).map_err(undecodable)?;
    let name = extension.name;
    let Some(any) = extension.typed_config else { return Err(Error::NoConfig { name }) };
    if let Some(kind) = Kind::of(&any.type_url) {
        return Ok(Some((name, kind, any.value)));
    }
    if !STRUCTURES.contains(&bare(&any.type_url)) {
        return Ok(None);
    }
    let undecodable = |source| Error::Undecodable { what: "TypedStruct", source };
    let inner = match Fields::last(&any.value, 1).map_err(undecodable)? {
        Some(value) => value.text().map_err(undecodable)?,
        None => "",
    };
    let Some(kind) = Kind::of(inner) else { return Ok(None) };
    let content = match Fields::last(&any.value, 2).map_err(undecodable)? {
        Some(value) => value.bytes().map_err(undecodable)?,
        None => &[],
    };
    let filter = structure::wasm(&name, content)?;
    Ok(Some((name, kind, filter.encode_to_vec())))
}

impl Kind {
    fn of(type_url: &str) -> Option<Self> {
        match bare(type_url) {
            HTTP => Some(Self::Http),
            NETWORK => Some(Self::Network),
            _ => None,
        }
    }
}

/// The type's name without whoever defines it.
fn bare(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

fn failing(config: &PluginConfig) -> Failing {
    #[expect(deprecated, reason = "older control planes say it this way")]
    let is_open = match config.failure_policy() {
        FailurePolicy::Unspecified => config.fail_open,
        policy => policy == FailurePolicy::FailOpen,
    };
    if is_open { Failing::Open } else { Failing::Closed }
}

/// What istiod tells the agent among the variables of the module.
#[derive(Default)]
struct Told {
    policy: Policy,
    version: String,
    secret: Option<Zeroizing<String>>,
}

impl Told {
    fn of(variables: EnvironmentVariables) -> Self {
        let mut told = Self::default();
        for (name, value) in variables.key_values {
            match name.strip_prefix(FOR_THE_AGENT) {
                Some("WASM_IMAGE_PULL_SECRET") => told.secret = Some(value.into()),
                Some("WASM_IMAGE_PULL_POLICY") => {
                    told.policy = match value.as_str() {
                        "IfNotPresent" => Policy::IfNotPresent,
                        "Always" => Policy::Always,
                        _ => Policy::Unspecified,
                    };
                }
                Some("WASM_PLUGIN_RESOURCE_VERSION") => told.version = value,
                _ => {}
            }
        }
        told
    }
}

/// A `PluginConfig` whose module is the file.
fn plugin(config: &[u8], file: &str) -> Result<Vec<u8>, Malformed> {
    rebuilt(config, &mut |number, value| match number {
        3 => replaced(value, |vm| machine(vm, file)),
        _ => Ok(Edit::Keep),
    })
}

/// A `VmConfig` whose module is the file, and whose variables are those of the module only.
fn machine(vm: &[u8], file: &str) -> Result<Vec<u8>, Malformed> {
    rebuilt(vm, &mut |number, value| match number {
        // A field that comes several times is one: each part has to be the same then.
        3 => Ok(Edit::Replace(code(file))),
        7 => {
            let variables = replaced(value, variables)?;
            let is_empty = matches!(&variables, Edit::Replace(left) if left.is_empty());
            Ok(if is_empty { Edit::Drop } else { variables })
        }
        _ => Ok(Edit::Keep),
    })
}

/// An `AsyncDataSource` that is a local file.
fn code(file: &str) -> Vec<u8> {
    let (mut local, mut code) = (Vec::new(), Vec::new());
    write::bytes(&mut local, 1, file.as_bytes());
    write::bytes(&mut code, 1, &local);
    code
}

/// `EnvironmentVariables` without what was for the agent: it may be a password.
fn variables(variables: &[u8]) -> Result<Vec<u8>, Malformed> {
    rebuilt(variables, &mut |number, value| match number {
        2 => {
            let name = Fields::last(value.bytes()?, 1)?.map_or(Ok(""), Value::text)?;
            Ok(if name.starts_with(FOR_THE_AGENT) { Edit::Drop } else { Edit::Keep })
        }
        _ => Ok(Edit::Keep),
    })
}

fn replaced(
    value: Value<'_>,
    edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, Malformed>,
) -> Result<Edit, Malformed> {
    edit(value.bytes()?).map(Edit::Replace)
}

fn rebuilt(
    message: &[u8],
    edit: &mut impl FnMut(u32, Value<'_>) -> Result<Edit, Malformed>,
) -> Result<Vec<u8>, Malformed> {
    Ok(rebuild(message, edit)?.unwrap_or_else(|| message.to_vec()))
}

const HTTP: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
const NETWORK: &str = "envoy.extensions.filters.network.wasm.v3.Wasm";
const STRUCTURES: &[&str] = &["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];
/// What istiod writes where there is no checksum.
const NO_CHECKSUM: &str = "nil";
const FOR_THE_AGENT: &str = "ISTIO_META_";

#[cfg(test)]
mod tests;
