//! A value that was left out of the node, and what would have been taken instead.

use std::fmt;

/// One value that is not in the node because it cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The variable, and the key inside it where it holds an object.
    pub key: String,
    /// What it says, shortened.
    pub value: String,
    /// What would have been understood.
    pub expected: &'static str,
}

impl Warning {
    pub(crate) fn new(key: impl Into<String>, value: &str, expected: &'static str) -> Self {
        let mut shown: String = value.chars().take(MAX_SHOWN).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self { key: key.into(), value: shown, expected }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}: expected {}", self.key, self.value, self.expected)
    }
}

/// Characters of a value that are worth a line of log.
const MAX_SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_shortened_and_control_characters_are_escaped() {
        let warning = Warning::new("ISTIO_META_X", &"\n".repeat(100), "something shorter");

        let shown = warning.to_string();

        assert!(shown.starts_with(r#"ISTIO_META_X = "\n\n"#), "{shown}");
        assert!(shown.ends_with(r#"\n…": expected something shorter"#), "{shown}");
    }
}
