//! A Wasm filter written as a structure of names and values, the way an `EnvoyFilter` does.
//!
//! A name that is not known is an error: what it was to say cannot be passed on.

use std::collections::HashMap;

use hawser_proto::envoy::{
    envoy::{
        config::core::v3::{
            AsyncDataSource, BackoffStrategy, DataSource, HttpUri, RemoteDataSource,
            async_data_source::Specifier,
        },
        extensions::{
            filters::http::wasm::v3::Wasm,
            wasm::v3::{
                CapabilityRestrictionConfig, EnvironmentVariables, FailurePolicy, PluginConfig,
                ReloadConfig, SanitizationConfig, VmConfig, plugin_config::Vm,
            },
        },
    },
    google::protobuf::{Any, BoolValue, BytesValue, Duration, StringValue, Struct, Value, value},
};
use prost::Message as _;

use crate::{Error, base64};

/// The filter in the bytes of a `Struct`.
pub(super) fn wasm(name: &str, content: &[u8]) -> Result<Wasm, Error> {
    let undecodable = |source| Error::Message { what: "Struct of a Wasm filter", source };
    let content = Struct::decode(content).map_err(undecodable)?;
    let mut wasm = Wasm::default();
    filter(&content, &mut wasm).map_err(|Wrong { field, problem }| Error::Structure {
        name: name.to_owned(),
        field,
        problem,
    })?;
    Ok(wasm)
}

struct Wrong {
    field: String,
    problem: &'static str,
}

type Read<T> = Result<T, Wrong>;

fn filter(content: &Struct, into: &mut Wasm) -> Read<()> {
    each(content, |field, value| match field {
        "config" => set(&mut into.config, plugin(field, value)),
        _ => unknown(field),
    })
}

fn plugin(at: &str, value: &Value) -> Read<PluginConfig> {
    let mut into = PluginConfig::default();
    each(object(at, value)?, |field, value| {
        #[expect(deprecated, reason = "older control planes say it this way")]
        match field {
            "name" => put(&mut into.name, text(field, value)),
            "root_id" => put(&mut into.root_id, text(field, value)),
            "vm_config" => set(&mut into.vm, machine(field, value).map(Vm::VmConfig)),
            "configuration" => set(&mut into.configuration, any(field, value)),
            "fail_open" => put(&mut into.fail_open, truth(field, value)),
            "failure_policy" => put(&mut into.failure_policy, policy(field, value)),
            "reload_config" => set(&mut into.reload_config, reload(field, value)),
            "capability_restriction_config" => {
                set(&mut into.capability_restriction_config, capabilities(field, value))
            }
            "allow_on_headers_stop_iteration" => {
                let value = truth(field, value).map(|value| BoolValue { value });
                set(&mut into.allow_on_headers_stop_iteration, value)
            }
            _ => unknown(field),
        }
    })?;
    Ok(into)
}

fn machine(at: &str, value: &Value) -> Read<VmConfig> {
    let mut into = VmConfig::default();
    each(object(at, value)?, |field, value| match field {
        "vm_id" => put(&mut into.vm_id, text(field, value)),
        "runtime" => put(&mut into.runtime, text(field, value)),
        "code" => set(&mut into.code, code(field, value)),
        "configuration" => set(&mut into.configuration, any(field, value)),
        "allow_precompiled" => put(&mut into.allow_precompiled, truth(field, value)),
        "nack_on_code_cache_miss" => put(&mut into.nack_on_code_cache_miss, truth(field, value)),
        "environment_variables" => set(&mut into.environment_variables, variables(field, value)),
        "capability_restriction_config" => {
            set(&mut into.capability_restriction_config, capabilities(field, value))
        }
        _ => unknown(field),
    })?;
    Ok(into)
}

/// The code is to be replaced: of what is not remote only that it is not matters.
fn code(at: &str, value: &Value) -> Read<AsyncDataSource> {
    let mut into = AsyncDataSource::default();
    each(object(at, value)?, |field, value| match field {
        "local" => set(&mut into.specifier, Ok(Specifier::Local(DataSource::default()))),
        "remote" => set(&mut into.specifier, remote(field, value).map(Specifier::Remote)),
        _ => unknown(field),
    })?;
    Ok(into)
}

fn remote(at: &str, value: &Value) -> Read<RemoteDataSource> {
    let mut into = RemoteDataSource::default();
    each(object(at, value)?, |field, value| match field {
        "http_uri" => set(&mut into.http_uri, address(field, value)),
        "sha256" => put(&mut into.sha256, text(field, value)),
        // It is Envoy's, which does not fetch.
        "retry_policy" => Ok(()),
        _ => unknown(field),
    })?;
    Ok(into)
}

fn address(at: &str, value: &Value) -> Read<HttpUri> {
    let mut into = HttpUri::default();
    each(object(at, value)?, |field, value| match field {
        "uri" => put(&mut into.uri, text(field, value)),
        "timeout" => set(&mut into.timeout, duration(field, value)),
        "cluster" => Ok(()),
        _ => unknown(field),
    })?;
    Ok(into)
}

fn variables(at: &str, value: &Value) -> Read<EnvironmentVariables> {
    let mut into = EnvironmentVariables::default();
    each(object(at, value)?, |field, value| match field {
        "host_env_keys" => put(&mut into.host_env_keys, texts(field, value)),
        "key_values" => put(&mut into.key_values, pairs(field, value)),
        _ => unknown(field),
    })?;
    Ok(into)
}

fn reload(at: &str, value: &Value) -> Read<ReloadConfig> {
    let mut into = BackoffStrategy::default();
    each(object(at, value)?, |field, value| match field {
        "backoff" => each(object(field, value)?, |field, value| match field {
            "base_interval" => set(&mut into.base_interval, duration(field, value)),
            "max_interval" => set(&mut into.max_interval, duration(field, value)),
            _ => unknown(field),
        }),
        _ => unknown(field),
    })?;
    Ok(ReloadConfig { backoff: Some(into) })
}

fn capabilities(at: &str, value: &Value) -> Read<CapabilityRestrictionConfig> {
    let mut into = CapabilityRestrictionConfig::default();
    each(object(at, value)?, |field, value| match field {
        "allowed_capabilities" => {
            let named = object(field, value)?.fields.keys();
            let allowed = named.map(|name| (name.clone(), SanitizationConfig::default()));
            put(&mut into.allowed_capabilities, Ok(allowed.collect()))
        }
        _ => unknown(field),
    })?;
    Ok(into)
}

/// What an `Any` in JSON holds; only of messages that JSON writes as a value.
fn any(at: &str, value: &Value) -> Read<Any> {
    let fields = &object(at, value)?.fields;
    let named = fields.get("@type").ok_or_else(|| wrong(at, "has no @type"))?;
    let type_url = text(at, named)?;
    let held = fields.get("value").ok_or_else(|| wrong(at, "has no value"))?;
    let value = match super::bare(&type_url) {
        "google.protobuf.StringValue" => StringValue { value: text(at, held)? }.encode_to_vec(),
        "google.protobuf.BytesValue" => {
            let value = base64::decode(&text(at, held)?);
            let value = value.ok_or_else(|| wrong(at, "is no base64"))?;
            BytesValue { value }.encode_to_vec()
        }
        "google.protobuf.BoolValue" => BoolValue { value: truth(at, held)? }.encode_to_vec(),
        "google.protobuf.Struct" => object(at, held)?.encode_to_vec(),
        _ => return Err(wrong(at, "is of a type that cannot be written this way")),
    };
    Ok(Any { type_url, value })
}

fn policy(at: &str, value: &Value) -> Read<i32> {
    if let Some(value::Kind::NumberValue(number)) = value.kind {
        let known = [FailurePolicy::FailReload, FailurePolicy::FailClosed, FailurePolicy::FailOpen];
        let named = known.into_iter().find(|policy| f64::from(*policy as i32) == number);
        return Ok(named.unwrap_or_default() as i32);
    }
    let named = FailurePolicy::from_str_name(&text(at, value)?);
    named.map(|policy| policy as i32).ok_or_else(|| wrong(at, "is no failure policy"))
}

/// `12.5s`.
fn duration(at: &str, value: &Value) -> Read<Duration> {
    let text = text(at, value)?;
    let seconds = text.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
    let length = seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
    let length = length.and_then(|length| {
        let (seconds, nanos) = (length.as_secs(), length.subsec_nanos());
        Some(Duration { seconds: seconds.try_into().ok()?, nanos: nanos.try_into().ok()? })
    });
    length.ok_or_else(|| wrong(at, "is no duration"))
}

fn pairs(at: &str, value: &Value) -> Read<HashMap<String, String>> {
    let fields = &object(at, value)?.fields;
    fields.iter().map(|(name, value)| Ok((name.clone(), text(at, value)?))).collect()
}

fn texts(at: &str, value: &Value) -> Read<Vec<String>> {
    match &value.kind {
        Some(value::Kind::ListValue(list)) => {
            list.values.iter().map(|value| text(at, value)).collect()
        }
        _ => Err(wrong(at, "is no list")),
    }
}

fn text(at: &str, value: &Value) -> Read<String> {
    match &value.kind {
        Some(value::Kind::StringValue(text)) => Ok(text.clone()),
        _ => Err(wrong(at, "is no text")),
    }
}

fn truth(at: &str, value: &Value) -> Read<bool> {
    match value.kind {
        Some(value::Kind::BoolValue(truth)) => Ok(truth),
        _ => Err(wrong(at, "is neither true nor false")),
    }
}

fn object<'a>(at: &str, value: &'a Value) -> Read<&'a Struct> {
    match &value.kind {
        Some(value::Kind::StructValue(object)) => Ok(object),
        _ => Err(wrong(at, "is no object")),
    }
}

/// Every field that says something, by its name as the definition writes it.
fn each(object: &Struct, mut f: impl FnMut(&str, &Value) -> Read<()>) -> Read<()> {
    for (name, value) in &object.fields {
        if !matches!(value.kind, None | Some(value::Kind::NullValue(_))) {
            f(&snake(name), value)?;
        }
    }
    Ok(())
}

/// `vmConfig` and `vm_config` are one field.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn set<T>(into: &mut Option<T>, value: Read<T>) -> Read<()> {
    *into = Some(value?);
    Ok(())
}

fn put<T>(into: &mut T, value: Read<T>) -> Read<()> {
    *into = value?;
    Ok(())
}

fn unknown(field: &str) -> Read<()> {
    Err(wrong(field, "is not a field of it"))
}

fn wrong(field: &str, problem: &'static str) -> Wrong {
    Wrong { field: field.chars().take(LONGEST_SHOWN).collect(), problem }
}

const LONGEST_SHOWN: usize = 64;
