//! What a program has printed, as a pair with roots. Pure.
//!
//! PEM: a key, the certificates leaf first, and, unless they are known otherwise, the roots: those
//! certificates that have signed themselves. JSON: `key`, `chain`, and `roots` under the same
//! condition; each a PEM text, the last two may be lists of them.

use hawser_pki::{Bundle, Chain, Identity, PrivateKey};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// Why there is no pair in what a program has printed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Unprinted {
    #[error(
        "expected a key and certificates in PEM, or JSON of the form \
         {{\"key\": PEM, \"chain\": PEM, \"roots\": PEM}}"
    )]
    Nothing,
    #[error("it is not text")]
    NotText,
    #[error(
        "expected JSON of the form {{\"key\": PEM, \"chain\": PEM, \"roots\": PEM}}: {what} in line {line}"
    )]
    Json { what: String, line: usize },
    #[error(
        "there is no root in it: print the mesh's too, or name the file that holds it (identity.roots)"
    )]
    NoRoots,
    #[error("its {part} cannot be used")]
    Part { part: &'static str, source: Box<hawser_pki::Error> },
    #[error("it does not fit together")]
    Unfit { source: Box<hawser_pki::Error> },
}

/// The pair in what was printed, with these roots instead of its own where they are kept `apart`.
pub fn printed(output: &[u8], apart: Option<Bundle>) -> Result<Identity, Unprinted> {
    let text = str::from_utf8(output).ok().ok_or(Unprinted::NotText)?.trim_start();
    let Document { key, chain, roots } =
        if text.starts_with('{') { json(text) } else { pem(text) }?;
    let part = |part| move |source| Unprinted::Part { part, source: Box::new(source) };
    let key = PrivateKey::from_pem(&key).map_err(part("key"))?;
    let (chain, among) = Chain::and_roots(&chain).map_err(part("chain"))?;
    let elsewhere = apart.is_some();
    let said = (!roots.is_empty()).then(|| Bundle::from_pem(&roots)).transpose();
    let roots = apart.or(said.map_err(part("roots"))?).or(among).ok_or(Unprinted::NoRoots)?;
    let whole = || {
        let identity = Identity::brought(key, chain, roots)?;
        if !elsewhere {
            identity.rooted()?;
        }
        Ok(identity)
    };
    whole().map_err(|source| Unprinted::Unfit { source: Box::new(source) })
}

/// Texts in PEM; of the key, and maybe of more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(deserialize_with = "secret")]
    key: Zeroizing<String>,
    #[serde(deserialize_with = "texts")]
    chain: String,
    #[serde(default, deserialize_with = "texts")]
    roots: String,
}

fn pem(text: &str) -> Result<Document, Unprinted> {
    if !text.contains("-----BEGIN ") {
        return Err(Unprinted::Nothing);
    }
    let key = Zeroizing::new(text.to_owned());
    Ok(Document { key, chain: text.to_owned(), roots: String::new() })
}

fn json(text: &str) -> Result<Document, Unprinted> {
    serde_json::from_str(text).map_err(|error| {
        let (line, what) = (error.line(), error.to_string());
        let what = what.split(" at line ").next().unwrap_or_default().to_owned();
        Unprinted::Json { what, line }
    })
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

/// A text, or a list of texts put together.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Texts::deserialize(from)? {
        Texts::One(text) => text,
        Texts::Many(texts) => texts.join("\n"),
    })
}

#[cfg(test)]
mod tests;
