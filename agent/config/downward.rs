//! Files of the downward API: labels and annotations of a pod, which a VM may be given as well.
//!
//! One `key="value"` a line, the value quoted as Go quotes.

use std::collections::BTreeMap;

/// Reads such a file; for each line that is none, its number.
pub fn parse(text: &str) -> (BTreeMap<String, String>, Vec<usize>) {
    let mut entries = BTreeMap::new();
    let mut wrong = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match entry(line) {
            Some((key, value)) => drop(entries.insert(key, value)),
            None => wrong.push(n + 1),
        }
    }
    (entries, wrong)
}

/// What Go quotes is a JSON string, but for escapes that no label can hold.
fn entry(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    let value = serde_json::from_str(value.trim()).ok()?;
    (!key.is_empty()).then(|| (key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_unquoted_and_other_lines_told() {
        let (entries, wrong) = parse("app=\"web\"\n\nnote=\"a \\\"b\\\" = c\"\nbad\n=\"x\"\nq=x\n");

        assert_eq!(entries["app"], "web");
        assert_eq!(entries["note"], "a \"b\" = c");
        assert_eq!((entries.len(), wrong), (2, vec![4, 5, 6]));
    }
}
