//! Every setting there is: its name, who else may say it, its default and what it means.
//!
//! The table is the only list: the parser, `hawser config` and the commented configuration file
//! of the package are made from it.

mod table;

pub use table::SETTINGS;

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The name in `hawser.toml`, dotted. `HAWSER_` + upper case with `_` in the environment.
    pub key: &'static str,
    /// Istio's variables for the same thing, the stronger one last.
    pub variables: &'static [&'static str],
    /// What holds when nobody says anything; empty where it depends on the machine.
    pub default: &'static str,
    /// What a value has to look like.
    pub expected: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
}

/// The setting with this name.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The setting that this variable of Istio stands for.
pub fn of_variable(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.variables.contains(&name))
}

/// The setting that this variable of ours (`HAWSER_DNS_LISTEN`) stands for.
pub fn of_own_variable(name: &str) -> Option<&'static Setting> {
    let wanted = name.strip_prefix(OWN_PREFIX)?;
    SETTINGS.iter().find(|setting| own_variable(setting).eq(wanted.chars()))
}

/// What our own variables begin with.
pub const OWN_PREFIX: &str = "HAWSER_";

/// The known name that differs from `key` in the fewest letters, if it is near at all.
pub fn nearest(key: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (distance(key, setting.key), setting.key))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, key)| key)
}

fn own_variable(setting: &Setting) -> impl Iterator<Item = char> {
    setting.key.chars().map(|c| if c == '.' { '_' } else { c.to_ascii_uppercase() })
}

/// The number of letters to insert, remove or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let changed = before + usize::from(x != *y);
            before = *cell;
            left = changed.min(before + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_stands_for_one_setting() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(|s| s.key).collect();
        let variables: Vec<_> = SETTINGS.iter().flat_map(|s| s.variables).collect();

        assert_eq!(keys.len(), SETTINGS.len());
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
    }

    #[test]
    fn our_variables_are_the_keys_in_upper_case() {
        assert_eq!(of_own_variable("HAWSER_DNS_LISTEN"), find("dns.listen"));
        assert_eq!(of_own_variable("HAWSER_ISTIOD_CA_ADDRESS"), find("istiod.ca_address"));
        assert_eq!(of_own_variable("HAWSER_DNS"), None);
        assert_eq!(of_own_variable("DNS_LISTEN"), None);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(nearest("dns.lissten"), Some("dns.listen"));
        assert_eq!(nearest("istiod.adress"), Some("istiod.address"));
        assert_eq!(nearest("something.else"), None);
    }
}
