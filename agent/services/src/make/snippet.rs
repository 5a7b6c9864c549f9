//! What an operator has written in JSON, as Envoy takes it.
//!
//! An Envoy that is given a `TypedStruct` makes of it whatever message its URL names, so any filter of
//! any build will do, and nobody but that Envoy has to know it.

use std::collections::BTreeMap;

use hawser_proto::envoy::google::protobuf::Any;
use prost::{Message, Oneof};
use serde_json::Value as Json;

/// A `typed_config` with its `@type`.
pub(super) fn typed(config: &Json) -> Any {
    let Json::Object(fields) = config else { return Any::default() };
    let type_url = fields.get("@type").and_then(Json::as_str).unwrap_or_default().to_owned();
    let value = structure(fields.iter().filter(|(key, _)| *key != "@type"));
    let typed = TypedStruct { type_url, value: Some(value) };
    Any { type_url: TYPED_STRUCT.to_owned(), value: typed.encode_to_vec() }
}

fn structure<'a>(fields: impl Iterator<Item = (&'a String, &'a Json)>) -> Struct {
    Struct { fields: fields.map(|(key, json)| (key.clone(), value(json))).collect() }
}

fn value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::Null(0),
        Json::Bool(truth) => Kind::Bool(*truth),
        // What a double cannot hold may be written as text, and Envoy reads it from there.
        Json::Number(number) => match number.as_f64() {
            Some(double) if number.is_f64() || is_exact(number) => Kind::Number(double),
            _ => Kind::Text(number.to_string()),
        },
        Json::String(text) => Kind::Text(text.clone()),
        Json::Array(values) => Kind::List(List { values: values.iter().map(value).collect() }),
        Json::Object(fields) => Kind::Struct(structure(fields.iter())),
    };
    Value { kind: Some(kind) }
}

/// Whether a whole number is small enough for a double to hold it.
fn is_exact(number: &serde_json::Number) -> bool {
    let size = number.as_i64().map(i64::unsigned_abs).or(number.as_u64());
    size.is_some_and(|size| size <= 1 << 53)
}

const TYPED_STRUCT: &str = "type.googleapis.com/udpa.type.v1.TypedStruct";

/// `udpa.type.v1.TypedStruct`.
#[derive(Clone, PartialEq, Message)]
struct TypedStruct {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Struct>,
}

/// `google.protobuf.Struct`, whose fields are in order: the same octets in every process.
#[derive(Clone, PartialEq, Message)]
struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}
