//! What of a bundle is other than before, by keys. Of secrets no more than that.

use std::{collections::BTreeMap, fmt};

use hawser_istiod::token;
use hawser_pki::{Bundle as Roots, Chain};
use serde_json::Value;

use super::Bundle;
use crate::config::{envfile, hosts, paths, proxy};

/// One thing that is other than before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    file: &'static str,
    key: String,
    before: Option<String>,
    after: Option<String>,
}

/// What changes when a bundle takes the place of another.
pub(crate) fn changes(before: &Bundle, after: &Bundle) -> Vec<Change> {
    let mut changes = Vec::new();
    for (file, _) in paths::BUNDLE.iter().chain(&paths::PAIR) {
        if before.files.get(file) == after.files.get(file) {
            continue;
        }
        let (mut old, new) = (entries(before, file), entries(after, file));
        for (key, after) in new {
            let before = old.remove(&key);
            // A secret is told apart by its file, not by what is said of it.
            if before.as_ref() != Some(&after) || key.is_empty() {
                changes.push(Change { file, key, before, after: Some(after) });
            }
        }
        let gone = old.into_iter();
        changes.extend(gone.map(|(key, before)| Change {
            file,
            key,
            before: Some(before),
            after: None,
        }));
    }
    changes
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.key.is_empty() {
            true => self.file.to_owned(),
            false => format!("{} {}", self.file, plain(&self.key)),
        };
        let value = |value: &String| match is_secret(&self.key) {
            true => "(not shown)".to_owned(),
            false => plain(value),
        };
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {name}: {}", value(after)),
            (Some(before), None) => write!(f, "- {name}: {}", value(before)),
            (Some(_), Some(_)) if is_secret(&self.key) => write!(f, "~ {name}: (not shown)"),
            (Some(before), Some(after)) if before == after => {
                write!(f, "~ {name}: another, {}", value(after))
            }
            (Some(before), Some(after)) => {
                write!(f, "~ {name}: {} -> {}", value(before), value(after))
            }
            (None, None) => Ok(()),
        }
    }
}

/// What a file says, by key. Keys and tokens are told by what can be known of them.
fn entries(bundle: &Bundle, file: &str) -> BTreeMap<String, String> {
    let Some(text) = bundle.text(file) else { return BTreeMap::new() };
    match file {
        paths::CLUSTER_ENV => {
            let (assignments, _) = envfile::parse(text);
            assignments.into_iter().map(|one| (one.name, one.value)).collect()
        }
        paths::MESH_YAML => {
            let mut flat = BTreeMap::new();
            for (key, value) in proxy::of_mesh_file(text).unwrap_or_default() {
                flatten(&key, &value, &mut flat);
            }
            flat
        }
        paths::HOSTS => {
            let mut names: BTreeMap<String, String> = BTreeMap::new();
            for (name, address) in hosts::parse(text).unwrap_or_default() {
                let addresses = names.entry(name).or_default();
                *addresses = format!("{addresses} {address}").trim().to_owned();
            }
            names
        }
        // Opaque: told by what is known of it, see `opaque`.
        _ => BTreeMap::from([(String::new(), opaque(text, file))]),
    }
}

/// What can be said of a file whose content is shown to nobody.
fn opaque(text: &str, file: &str) -> String {
    let of = match file {
        paths::TOKEN => token::open(text).ok().and_then(|facts| facts.subject),
        paths::CHAIN => Chain::from_pem(text)
            .ok()
            .and_then(|chain| chain.spiffe_id().ok())
            .map(|id| id.to_string()),
        paths::ROOT_CERT => {
            return Roots::from_pem(text).map_or("none".to_owned(), |roots| match roots.len() {
                1 => "1 root".to_owned(),
                count => format!("{count} roots"),
            });
        }
        _ => None,
    };
    of.map_or("one".to_owned(), |of| format!("for {of}"))
}

fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                flatten(&format!("{key}.{field}"), value, into);
            }
        }
        Value::String(text) => {
            into.insert(key.to_owned(), text.clone());
        }
        other => {
            into.insert(key.to_owned(), other.to_string());
        }
    }
}

/// Headers carry tokens, and people call their secrets what they are.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_uppercase();
    let name = key.rsplit('.').next().unwrap_or_default();
    name.starts_with("XDS_HEADER_")
        || name.starts_with("CA_HEADER_")
        || ["TOKEN", "SECRET", "PASSW", "CREDENTIAL", "PRIVATE", "API_KEY"]
            .iter()
            .any(|word| name.contains(word))
}

/// What somebody else wrote, on one line and no longer than one.
fn plain(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut line: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().count() > LONGEST {
        line.push('…');
    }
    line
}

const LONGEST: usize = 80;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use zeroize::Zeroizing;

    use super::*;

    fn bundle(files: &[(&'static str, &str)]) -> Bundle {
        let files =
            files.iter().map(|(name, text)| (*name, Zeroizing::new(text.as_bytes().to_vec())));
        Bundle { place: Path::new("b").to_owned(), files: files.collect() }
    }

    #[test]
    fn what_changes_is_told_by_key_and_secrets_are_not_shown() {
        let before = bundle(&[
            (paths::CLUSTER_ENV, "A='1'\nB='2'\nXDS_HEADER_AUTH='old-secret'\n"),
            (paths::MESH_YAML, "defaultConfig:\n  concurrency: 2\n  tracing: {sampling: 1}\n"),
            (paths::HOSTS, "10.0.0.1 istiod\n"),
            (paths::TOKEN, "old-token"),
            (paths::KEY, "same"),
        ]);
        let after = bundle(&[
            (paths::CLUSTER_ENV, "A='1'\nB='\u{1b}[2J'\nC=''\nXDS_HEADER_AUTH='new-secret'\n"),
            (paths::MESH_YAML, "defaultConfig:\n  concurrency: 2\n  tracing: {sampling: 5}\n"),
            (paths::HOSTS, ""),
            (paths::TOKEN, "new-token"),
            (paths::KEY, "same"),
        ]);

        let told: Vec<String> = changes(&before, &after).iter().map(ToString::to_string).collect();

        assert_eq!(
            told,
            [
                "~ cluster.env B: 2 -> \\u{1b}[2J",
                "+ cluster.env C: ''",
                "~ cluster.env XDS_HEADER_AUTH: (not shown)",
                "~ mesh.yaml tracing.sampling: 1 -> 5",
                "~ istio-token: another, one",
                "- hosts istiod: 10.0.0.1",
            ]
        );
        assert!(changes(&after, &after).is_empty());
    }
}
