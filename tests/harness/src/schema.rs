//! JSON held against a JSON Schema: the part of the language that our own schemas use.
//!
//! A word of the language that is not known here fails, so that nothing is passed over; and so does a
//! property that the schema does not describe, though the schema itself lets readers pass over it.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

/// A schema.
#[derive(Debug)]
pub struct Schema(Value);

impl Schema {
    /// Reads one.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn read(text: &str) -> Result<Self> {
        let schema: Value = serde_json::from_str(text).context("read the schema")?;
        ensure!(schema.is_object(), "a schema is an object");
        Ok(Self(schema))
    }

    /// Holds a value against it.
    ///
    /// # Errors
    /// Where the value is not what the schema describes: the text says where.
    pub fn holds(&self, value: &Value) -> Result<()> {
        self.check(&self.0, value, "$")
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<()> {
        let schema =
            schema.as_object().with_context(|| format!("{at}: the schema is no object"))?;
        for (word, said) in schema {
            match word.as_str() {
                "$schema"
                | "$defs"
                | "title"
                | "description"
                | "default"
                | "required"
                | "properties"
                | "additionalProperties" => {}
                "$ref" => self.check(self.referred(said)?, value, at)?,
                "type" => ensure!(
                    types(said).any(|kind| is(value, kind)),
                    "{at}: {value} is not of type {said}"
                ),
                "enum" => ensure!(
                    said.as_array().is_some_and(|all| all.contains(value)),
                    "{at}: {value} is none of {said}"
                ),
                "minimum" => ensure!(
                    value.as_f64().is_none_or(|number| Some(number) >= said.as_f64()),
                    "{at}: {value} is below {said}"
                ),
                "maximum" => ensure!(
                    value.as_f64().is_none_or(|number| Some(number) <= said.as_f64()),
                    "{at}: {value} is above {said}"
                ),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(said, item, &format!("{at}[{index}]"))?;
                    }
                }
                "oneOf" => self.one_of(said, value, at)?,
                _ => bail!("{at}: the schema says {word}, which nobody here understands"),
            }
        }
        match value.as_object() {
            Some(object) if is_described(schema) => self.object(schema, object, at),
            _ => Ok(()),
        }
    }

    fn one_of(&self, said: &Value, value: &Value, at: &str) -> Result<()> {
        let choices = said.as_array().with_context(|| format!("{at}: oneOf is no array"))?;
        let tried: Vec<_> = choices.iter().map(|choice| self.check(choice, value, at)).collect();
        let fit = tried.iter().filter(|tried| tried.is_ok()).count();
        let why: Vec<_> =
            tried.iter().filter_map(|it| it.as_ref().err()).map(|it| format!("{it:#}")).collect();
        ensure!(fit == 1, "{at}: {fit} of {} fit: {}", tried.len(), why.join("; "));
        Ok(())
    }

    fn object(
        &self,
        schema: &Map<String, Value>,
        object: &Map<String, Value>,
        at: &str,
    ) -> Result<()> {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let name = name.as_str().context("a name that is no text")?;
            ensure!(object.contains_key(name), "{at}: {name} is missing");
        }
        for (name, value) in object {
            let known = schema.get("properties").and_then(|known| known.get(name));
            let known = known.or(schema.get("additionalProperties"));
            let known = known.with_context(|| format!("{at}: {name} is not described"))?;
            self.check(known, value, &format!("{at}.{name}"))?;
        }
        Ok(())
    }

    fn referred(&self, said: &Value) -> Result<&Value> {
        let path = said.as_str().and_then(|said| said.strip_prefix('#'));
        let found = path.and_then(|path| self.0.pointer(path));
        found.with_context(|| format!("{said} leads nowhere"))
    }
}

fn is_described(schema: &Map<String, Value>) -> bool {
    schema.contains_key("properties") || schema.contains_key("additionalProperties")
}

fn types(said: &Value) -> impl Iterator<Item = &str> {
    let one = said.as_str();
    one.into_iter().chain(said.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_undescribed_or_otherwise_wrong_is_told_with_its_place() {
        let schema = json!({
            "type": "object", "required": ["a"],
            "properties": {
                "a": {"type": ["integer", "null"], "minimum": 0},
                "b": {"type": "array", "items": {"$ref": "#/$defs/word"}},
                "c": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/word"}]},
                "d": {"type": "object", "additionalProperties": {"type": "boolean"}},
            },
            "$defs": {"word": {"type": "string", "enum": ["x", "y"]}},
        });
        let schema = Schema::read(&schema.to_string()).unwrap();
        let good = json!({"a": 1, "b": ["x", "y"], "c": null, "d": {"any": true}});
        schema.holds(&good).unwrap();
        schema.holds(&json!({"a": null, "c": "x"})).unwrap();
        let table = [
            (json!({}), "$: a is missing"),
            (json!({"a": -1}), "$.a: -1 is below 0"),
            (json!({"a": "1"}), "$.a: \"1\" is not of type"),
            (json!({"a": 1, "b": ["x", "z"]}), "$.b[1]: \"z\" is none of"),
            (json!({"a": 1, "c": "z"}), "$.c: 0 of 2 fit"),
            (json!({"a": 1, "d": {"any": 1}}), "$.d.any: 1 is not of type"),
            (json!({"a": 1, "new": 1}), "$: new is not described"),
        ];
        for (value, expected) in table {
            let error = schema.holds(&value).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_word_that_nobody_understands_is_not_passed_over() {
        let schema = Schema::read(r#"{"pattern": "^a"}"#).unwrap();
        assert!(schema.holds(&json!("b")).unwrap_err().to_string().contains("pattern"));
        assert!(Schema::read(r##"{"$ref": "#/none"}"##).unwrap().holds(&json!(1)).is_err());
    }
}
