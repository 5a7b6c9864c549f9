//! What is secret by its look alone: passwords in addresses, signed tokens, keys in base64.

use crate::MASK;

/// Without who asks in an address: `https://user:password@host`.
pub(super) fn of_addresses(line: &str) -> String {
    let mut left = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, address)) = rest.split_once("://") {
        left.push_str(before);
        left.push_str("://");
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>' | '?');
        let host = address.find(ends).unwrap_or(address.len());
        let who = address.get(..host).and_then(|authority| authority.rfind('@'));
        if who.is_some_and(|who| who > 0) {
            left.push_str(MASK);
        }
        rest = address.get(who.unwrap_or(0)..).unwrap_or_default();
    }
    left.push_str(rest);
    left
}

/// Without runs of letters and digits that nobody has typed.
pub(super) fn taken_out(line: &str) -> String {
    let mut left = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let begin = rest.find(part_of_run).unwrap_or(rest.len());
        let (before, run) = rest.split_at(begin);
        left.push_str(before);
        let end = run.find(|c| !part_of_run(c)).unwrap_or(run.len());
        let (run, after) = run.split_at(end);
        rest = after;
        // Signed tokens and those of some makers have dots in them.
        if let Some(at) = STARTS.iter().filter_map(|start| begins(run, start)).min() {
            left.push_str(run.get(..at).unwrap_or_default());
            left.push_str(MASK);
            while let Some(dotted) = rest.strip_prefix('.') {
                rest = dotted.trim_start_matches(part_of_run);
            }
        } else if is_made(run) {
            left.push_str(MASK);
        } else {
            left.push_str(run);
        }
    }
    left
}

/// Where in a run something begins that has enough behind it.
fn begins(run: &str, (start, length): &(&str, usize)) -> Option<usize> {
    let at = run.find(start)?;
    (run.len() - at >= *length).then_some(at)
}

/// Long, of both cases and with digits: no word, no path, no checksum.
fn is_made(run: &str) -> bool {
    run.len() >= LONG
        && run.bytes().any(|byte| byte.is_ascii_uppercase())
        && run.bytes().any(|byte| byte.is_ascii_lowercase())
        && run.bytes().any(|byte| byte.is_ascii_digit())
}

fn part_of_run(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-')
}

/// Signed tokens, and what providers of well-known services begin theirs with; and how long they
/// are at least.
const STARTS: [(&str, usize); 10] = [
    ("eyJ", 16),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 20),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("AKIA", 20),
    ("AIza", 30),
];
const LONG: usize = 40;
