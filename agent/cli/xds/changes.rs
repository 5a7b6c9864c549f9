//! What differs between two versions of a type.

use std::{cmp::Ordering, collections::BTreeSet};

use hawser_lastgood::look::Resource;
use hawser_wire::outline;
use serde_json::{Value, json};

/// The differences, by the names of the resources.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<Changed>,
}

/// A resource that is not what it was: fields that it had, and those that it has.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    name: String,
    before: Vec<String>,
    after: Vec<String>,
}

/// Both sorted by name.
pub(super) fn between(before: &[Resource], after: &[Resource]) -> Changes {
    let mut changes = Changes::default();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.name.cmp(&new.name),
        };
        match order {
            Ordering::Less => changes.removed.extend(old.next().map(|it| it.name.clone())),
            Ordering::Greater => changes.added.extend(new.next().map(|it| it.name.clone())),
            Ordering::Equal => {
                if let (Some(old), Some(new)) = (old.next(), new.next())
                    && (old.digest, old.length) != (new.digest, new.length)
                {
                    changes.changed.push(changed(old, new));
                }
            }
        }
    }
}

fn changed(old: &Resource, new: &Resource) -> Changed {
    let lines = |of: &Resource| match of.value(LARGEST) {
        Ok(value) => outline(&value),
        Err(_) => vec![format!("{} bytes that cannot be shown", of.length)],
    };
    let (before, after) = only(&lines(old), &lines(new));
    Changed { name: new.name.clone(), before, after }
}

/// The lines that only one of them has.
fn only(before: &[String], after: &[String]) -> (Vec<String>, Vec<String>) {
    let had: BTreeSet<&String> = before.iter().collect();
    let has: BTreeSet<&String> = after.iter().collect();
    let gone = before.iter().filter(|line| !has.contains(line)).cloned().collect();
    let new = after.iter().filter(|line| !had.contains(line)).cloned().collect();
    (gone, new)
}

impl Changes {
    /// For people: what came, what went, and the fields that differ by their numbers.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut row = |sign: &str, what: &str| text.push_str(&format!("{sign} {what}\n"));
        self.added.iter().for_each(|name| row("+", name));
        self.removed.iter().for_each(|name| row("-", name));
        for Changed { name, before, after } in &self.changed {
            row("~", name);
            before.iter().for_each(|line| row("    -", line));
            after.iter().for_each(|line| row("    +", line));
        }
        if text.is_empty() {
            text.push_str("no difference\n");
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let changed = self
            .changed
            .iter()
            .map(|it| json!({"name": it.name, "before": it.before, "after": it.after}));
        json!({
            "added": self.added,
            "removed": self.removed,
            "changed": Value::from_iter(changed),
        })
    }
}

/// Nobody reads the differences of more.
const LARGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn only_lines_that_differ_are_shown() {
        let found = only(&lines(&["1: a", "2: b"]), &lines(&["1: a", "2: c", "3: d"]));
        assert_eq!(found, (lines(&["2: b"]), lines(&["2: c", "3: d"])));
    }

    #[test]
    fn differences_read_as_in_a_patch() {
        let changes = Changes {
            added: lines(&["new"]),
            removed: lines(&["old"]),
            changed: vec![Changed {
                name: "both".to_owned(),
                before: lines(&["4: 1"]),
                after: lines(&["4: 2"]),
            }],
        };
        assert_eq!(changes.text(), "+ new\n- old\n~ both\n    - 4: 1\n    + 4: 2\n");
        assert_eq!(changes.json()["changed"][0]["after"][0], "4: 2");
        assert_eq!(Changes::default().text(), "no difference\n");
    }
}
