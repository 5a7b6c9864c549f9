//! What Envoy does besides: REST calls made into gRPC ones, and filters in their own words.

use std::{fs, path::Path};

use prost::Message as _;
use serde_json::{Map, Number, Value};

use super::{
    at::{At, Judge, Section, quoted},
    tree::{Kind, Node},
    words,
};
use crate::model::{Snippet, Transcode};

/// REST calls made into gRPC ones. The descriptor is read here, so that what is told is whole.
pub(super) fn transcode(at: &At<'_>, judge: &mut Judge) -> Option<Transcode> {
    let mut section = Section::open(at, judge)?;
    let path = section.required(
        judge,
        "descriptor",
        "the path of a FileDescriptorSet (protoc --include_imports --descriptor_set_out)",
        |text| (!text.is_empty()).then(|| text.to_owned()),
    );
    let services =
        section.some(judge, "services", ("gRPC services by name, such as [shop.Cart]", 64), rpc);
    let largest = section.read(judge, "largest", "a size from 1KiB to 64MiB", |text| {
        words::bytes(text).filter(|size| (1024..=64 << 20).contains(size))
    });
    let described = section.field("descriptor");
    let named = section.field("services");
    section.close(judge);
    let path = judge.beside(&path?);
    let services = services?;
    let descriptor = match descriptor(&path) {
        Ok((bytes, known)) => {
            let lost = services.iter().filter(|name| !known.contains(name));
            for name in lost {
                let expected = match known.as_slice() {
                    [] => format!("one of {}, which has none", path.display()),
                    known => format!("one of {}: {}", path.display(), listed(known)),
                };
                judge.wrong(&named?, quoted(name), expected);
            }
            bytes
        }
        Err((found, expected)) => {
            judge.wrong(&described?, found, expected);
            return None;
        }
    };
    Some(Transcode { descriptor, path, services, largest: largest.unwrap_or(LARGEST) })
}

fn listed(known: &[String]) -> String {
    let shown: Vec<&str> = known.iter().take(10).map(String::as_str).collect();
    shown.join(", ")
}

fn rpc(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let part = |part: &str| !part.is_empty() && part.bytes().all(fits);
    (text.len() <= 512 && text.split('.').all(part)).then(|| text.to_owned())
}

/// The bytes of a descriptor, and the services in it; or what was found instead of what.
fn descriptor(path: &Path) -> Result<(Vec<u8>, Vec<String>), (String, String)> {
    let shown = path.display();
    let readable = || "a FileDescriptorSet that can be read".to_owned();
    let size = fs::metadata(path).map_err(|error| (format!("{shown}: {error}"), readable()))?;
    if !size.is_file() || size.len() > MAX_DESCRIPTOR {
        let expected = format!("a file of at most {} MiB", MAX_DESCRIPTOR >> 20);
        return Err((format!("{shown} with {} bytes", size.len()), expected));
    }
    let bytes = fs::read(path).map_err(|error| (format!("{shown}: {error}"), readable()))?;
    let set = FileSet::decode(bytes.as_slice())
        .ok()
        .filter(|set| !set.files.is_empty())
        .ok_or_else(|| (format!("{shown}, which is none"), "a FileDescriptorSet".to_owned()))?;
    let services = set.files.into_iter().flat_map(|file| {
        let package = file.package;
        file.services.into_iter().map(move |service| match package.as_str() {
            "" => service.name,
            package => format!("{package}.{}", service.name),
        })
    });
    Ok((bytes, services.collect()))
}

/// As much of `google.protobuf.FileDescriptorSet` as is asked for.
#[derive(prost::Message)]
pub(super) struct FileSet {
    #[prost(message, repeated, tag = "1")]
    pub(super) files: Vec<File>,
}

#[derive(prost::Message)]
pub(super) struct File {
    #[prost(string, tag = "2")]
    pub(super) package: String,
    #[prost(message, repeated, tag = "6")]
    pub(super) services: Vec<Rpc>,
}

#[derive(prost::Message)]
pub(super) struct Rpc {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// Filters of Envoy's.
pub(super) fn snippets(at: &At<'_>, judge: &mut Judge) -> Vec<Snippet> {
    let Some(items) = at.items().filter(|items| items.len() <= MAX_FILTERS) else {
        judge.unfit(at, format!("a list of at most {MAX_FILTERS} filters"));
        return Vec::new();
    };
    items.filter_map(|item| snippet(&item, judge)).collect()
}

fn snippet(at: &At<'_>, judge: &mut Judge) -> Option<Snippet> {
    let mut section = Section::open(at, judge)?;
    let expected = "the name of a filter such as envoy.filters.http.lua";
    let name = section.required(judge, "name", expected, words::label);
    if name.as_deref() == Some(ROUTER)
        && let Some(at) = section.field("name")
    {
        judge.unfit(&at, "any filter but the router, which is there");
    }
    let config = section.field("typed_config");
    let Some(config) = config else {
        judge.missing(&section, "typed_config", A_CONFIG);
        section.close(judge);
        return None;
    };
    section.close(judge);
    let value = json(config.node);
    let url = value.get("@type").and_then(Value::as_str);
    let message = url.and_then(|url| rpc(url.rsplit_once('/')?.1));
    if message.is_none() {
        judge.unfit(&config, A_CONFIG);
        return None;
    }
    Some(Snippet { name: name?, config: value, place: judge.place(at.line()) })
}

/// A value of YAML as JSON has it: plain words are what the core schema of YAML 1.2 says they are.
fn json(node: &Node<'_>) -> Value {
    match &node.kind {
        Kind::List(items) => Value::Array(items.iter().map(json).collect()),
        Kind::Map(entries) => {
            let field = |(key, value): (&str, &Node<'_>)| (key.to_owned(), json(value));
            let fields = entries.iter().map(|entry| field((entry.key.as_ref(), &entry.value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Kind::Scalar { .. } if node.is_null() => Value::Null,
        Kind::Scalar { text, plain: false } => Value::String(text.to_string()),
        Kind::Scalar { text, plain: true } => match text.as_ref() {
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            text => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
        },
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+');
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !unsigned.bytes().all(numeric)
    {
        return None;
    }
    let whole = text.parse::<i64>().map(Number::from).ok();
    whole
        .or_else(|| text.parse::<u64>().map(Number::from).ok())
        .or_else(|| text.parse().ok().and_then(Number::from_f64))
}

pub(super) const A_CONFIG: &str = "a mapping with an @type, such as \"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\"";
const ROUTER: &str = "envoy.filters.http.router";
const MAX_FILTERS: usize = 16;
const MAX_DESCRIPTOR: u64 = 4 << 20;
const LARGEST: u32 = 1 << 20;
