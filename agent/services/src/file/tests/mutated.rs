//! Good files with something wrong anywhere in them.

use proptest::{prelude::*, sample::Index};

use super::*;

/// What is put in the place of something else.
const ODD: &[&str] = &[
    "",
    "~",
    "[]",
    "{}",
    "- ",
    ": ",
    "'",
    "\"",
    "&a",
    "*a",
    "<<: *a",
    "!tag x",
    "---\n",
    "\t",
    "\0",
    "0",
    "-1",
    "99999999999999999999",
    "1e999",
    "*",
    "é\u{202e}",
    "\u{2028}",
    "{a: b}",
    "[[[[",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_stands_there_is_taken_whole_or_told_with_its_lines(
        seed in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), any::<Index>(), 0..3_u8), 1..6),
    ) {
        let mut text = SEEDS[seed.index(SEEDS.len())].to_owned();
        for (line, word, odd, how) in edits {
            text = edited(&text, (&line, &word), ODD[odd.index(ODD.len())], how);
        }

        match services(&text) {
            Ok(read) => prop_assert!(read.services.iter().all(|of| !of.identities.is_empty())),
            Err(problems) => {
                prop_assert!(!problems.0.is_empty());
                for problem in &problems.0 {
                    let told = problem.to_string();
                    prop_assert!(problem.place.line as usize <= text.lines().count() + 2, "{told}");
                    prop_assert!(!told.chars().any(char::is_control), "{told:?}");
                    prop_assert!(!problem.what.is_empty() && !problem.expected.is_empty(), "{told}");
                }
            }
        }
    }
}

/// A word of a line is replaced, or something comes after it; or a line is said again.
fn edited(text: &str, (line, word): (&Index, &Index), odd: &str, how: u8) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return odd.to_owned();
    }
    let at = line.index(lines.len());
    let chosen = lines[at].clone();
    let words: Vec<&str> = chosen.split_inclusive(' ').collect();
    let word = if words.is_empty() { "" } else { words[word.index(words.len())] };
    match how {
        0 if !word.is_empty() => lines[at] = chosen.replacen(word, odd, 1),
        1 => lines[at] = format!("{chosen}{odd}"),
        _ => lines.insert(at, chosen),
    }
    lines.join("\n")
}

const SEEDS: &[&str] = &[
    include_str!("../../../../../tests/fuzz/seeds/services/whole.yaml"),
    include_str!("../../../../../tests/fuzz/seeds/services/filters.yaml"),
    include_str!("../../../../../tests/fuzz/seeds/services/bad.yaml"),
];
