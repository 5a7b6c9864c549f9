//! hawser-services(5), from the schema of the file of services.

use std::io;

use clap_mangen::roff::Roff;
use serde_json::{Map, Value};

use super::{
    Page,
    page::polished,
    text::{self, SEE_ALSO, Section},
};

/// The page.
pub(super) fn page(date: &str) -> io::Result<Page> {
    let mut roff = Roff::new();
    let source = format!("hawser {}", crate::VERSION);
    roff.control("TH", ["HAWSER-SERVICES", "5", date, &source, "File Formats"]);
    roff.control("SH", ["NAME"]);
    roff.text(text::inlines("hawser-services - the file of services of a machine in a mesh"));
    let schema = serde_json::from_str(SCHEMA).map_err(io::Error::other)?;
    let (before, after) = (text::sections(BEFORE), text::sections(AFTER));
    for section in before.into_iter().chain(fields(&schema)).chain(after) {
        section.write(&mut roff);
    }
    let pages = "`hawser-services`(8), `hawser-check`(8), `hawser.toml`(5), `hawser`(8)";
    Section::of(SEE_ALSO, pages).write(&mut roff);
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(Page { file: "hawser-services.5".to_owned(), text: polished(&text) })
}

/// A section for the file, and one for each thing in it that has fields of its own.
fn fields(schema: &Value) -> Vec<Section> {
    let mut sections = Vec::new();
    // Below is what is still to be told; what is told already is not told again.
    let mut below = vec![("The file".to_owned(), schema)];
    let mut told: Vec<&Value> = Vec::new();
    while !below.is_empty() {
        for (name, object) in std::mem::take(&mut below) {
            if told.contains(&object) {
                continue;
            }
            told.push(object);
            let mut section = Section::new(&name.to_uppercase());
            let required = object["required"].as_array();
            for (field, value) in object["properties"].as_object().into_iter().flatten() {
                let needed = required.is_some_and(|all| all.iter().any(|own| own == field));
                section.term(field, meaning(schema, value, needed));
                let of =
                    if name == "The file" { field.clone() } else { format!("{name}: {field}") };
                below.extend(inside(schema, value).map(|object| (of, object)));
            }
            sections.push(section);
        }
    }
    sections
}

/// What a field is for, what it takes, and what holds without it.
fn meaning(schema: &Value, field: &Value, needed: bool) -> String {
    let said = |key: &str| field.get(key).or_else(|| resolved(schema, field).get(key));
    let mut meaning = said("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(words) = said("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().map(plain).collect();
        meaning.push_str(&format!(" One of {}.", words.join(", ")));
    }
    match said("default") {
        Some(default) => meaning.push_str(&format!(" Default `{}`.", plain(default))),
        None if needed => meaning.push_str(" Has to be said."),
        None => {}
    }
    meaning
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The object that a field is, or has several of; one of those it may be.
fn inside<'a>(schema: &'a Value, field: &'a Value) -> Option<&'a Value> {
    let field = resolved(schema, field);
    if field.get("properties").is_some_and(Value::is_object) {
        return Some(field);
    }
    if let Some(items) = field.get("items") {
        return inside(schema, items);
    }
    let some = ["oneOf", "anyOf"].iter().filter_map(|kind| field.get(*kind)?.as_array());
    some.flatten().find_map(|one| inside(schema, one))
}

/// What a reference leads to; what is none is itself.
fn resolved<'a>(schema: &'a Value, field: &'a Value) -> &'a Value {
    let name = field.get("$ref").and_then(Value::as_str).and_then(|to| to.rsplit('/').next());
    let definitions = schema.get("$defs").and_then(Value::as_object);
    name.and_then(|name| definitions.and_then(|all: &Map<_, _>| all.get(name))).unwrap_or(field)
}

const SCHEMA: &str = include_str!("../../../packaging/docs/services.schema.json");
const BEFORE: &str = include_str!("services.txt");
const AFTER: &str = "\
Examples:
  gateways: gw1.example.com:15443
  services:
    - host: reviews.prod.svc.cluster.local
      port: 9080
      identity: ns/prod/sa/reviews
    - host: db.prod.svc.cluster.local
      port: 5432
      protocol: tcp
      identity: ns/prod/sa/db

Files:
  /etc/hawser/services.yaml  The file, unless `services.file` names another, or a directory of them.
  /var/lib/hawser/services  What was in use last, and the addresses of names.
  /usr/share/doc/hawser/services.schema.json  The same as a JSON Schema, for editors.
  /usr/share/doc/hawser/standalone.md  How to bring a machine into a mesh with it.
";
