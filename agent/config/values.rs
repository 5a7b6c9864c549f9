//! What was said, and by whom, before anybody asks what it means.
//!
//! Layers are laid over each other in the order that `source` reads them; a later one wins, and every
//! value keeps its source. Two kinds of names live here: the *settings* of hawser (`dns.listen`) and the
//! *variables* of Istio (`ISTIO_META_NETWORK`). A variable that stands for a setting is both.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    problem::Problem,
    setting::{self, Setting},
};

/// Who said a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields say it")]
pub enum Source {
    /// Nobody: it is built in.
    Default,
    /// The name in the certificate that was provisioned.
    Certificate { path: PathBuf },
    /// A field of the mesh file, or of the variable `PROXY_CONFIG`.
    Mesh { place: String, field: String },
    /// A variable of an environment file.
    EnvFile { path: PathBuf, line: usize, name: String },
    /// Our own configuration file.
    Toml { path: PathBuf },
    /// A variable of the process environment.
    Environment { name: String },
    /// The command line.
    Flag { name: String },
}

impl Source {
    /// The same, for a file that was read in another place than people know it by.
    #[must_use]
    pub fn moved(self, here: &Path, there: &Path) -> Self {
        match self {
            Self::EnvFile { path, line, name } => {
                let path = path.strip_prefix(here).map_or(path.clone(), |file| there.join(file));
                Self::EnvFile { path, line, name }
            }
            Self::Certificate { path } => {
                let path = path.strip_prefix(here).map_or(path.clone(), |file| there.join(file));
                Self::Certificate { path }
            }
            Self::Mesh { place, field } => {
                let place = place.replace(&*here.to_string_lossy(), &there.to_string_lossy());
                Self::Mesh { place, field }
            }
            other => other,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Mesh { place, field } => write!(f, "{field} in {place}"),
            Self::EnvFile { path, line, name } => {
                write!(f, "{name} in {}:{line}", path.display())
            }
            Self::Certificate { path } | Self::Toml { path } => write!(f, "{}", path.display()),
            Self::Environment { name } => write!(f, "${name}"),
            Self::Flag { name } => f.write_str(name),
        }
    }
}

/// A value and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The text, as it was said.
    pub value: String,
    /// Who said it.
    pub source: Source,
}

/// Everything that was said, the last word on each name.
#[derive(Debug, Clone, Default)]
pub struct Values {
    settings: BTreeMap<&'static str, Said>,
    variables: BTreeMap<String, Said>,
    /// What could not even be laid down: unknown keys, files that do not parse.
    pub problems: Vec<Problem>,
}

impl Values {
    /// Says a setting of ours. An unknown one is a problem, with the nearest known one named.
    pub fn set(&mut self, key: &str, value: String, source: Source) {
        match setting::find(key) {
            Some(known) => {
                self.settings.insert(known.key, Said { value, source });
            }
            None => self.problems.push(unknown(key, &value, &source)),
        }
    }

    /// Says a variable of Istio, and the setting that it stands for.
    ///
    /// An empty value is kept for the variable, but says nothing about a setting: istioctl writes
    /// `TRUST_DOMAIN=''` where it means that nobody chose one.
    pub fn set_variable(&mut self, name: &str, value: String, source: Source) {
        if let Some(known) = setting::of_variable(name)
            && !value.is_empty()
            && !self.settings.get(known.key).is_some_and(|said| outdone(known, said, name, &source))
        {
            let said = Said { value: value.clone(), source: source.clone() };
            self.settings.insert(known.key, said);
        }
        self.variables.insert(name.to_owned(), Said { value, source });
    }

    /// The last word on a setting, or its default.
    pub fn setting(&self, setting: &Setting) -> Said {
        self.settings
            .get(setting.key)
            .cloned()
            .unwrap_or_else(|| Said { value: setting.default.to_owned(), source: Source::Default })
    }

    /// Who has the last word on a setting.
    pub fn source_of(&self, key: &str) -> Option<Source> {
        setting::find(key).map(|setting| self.setting(setting).source)
    }

    /// The variables that stand for no setting, and of which another says something else.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let value =
            |values: &Self, name: &str| values.variables.get(name).map(|said| said.value.clone());
        let names = self.variables.keys().chain(other.variables.keys());
        let changed = names.filter(|name| {
            setting::of_variable(name).is_none() && value(self, name) != value(other, name)
        });
        let changed: std::collections::BTreeSet<_> = changed.cloned().collect();
        changed.into_iter().collect()
    }

    /// The last word on a variable.
    pub fn variable(&self, name: &str) -> Option<&Said> {
        self.variables.get(name)
    }

    /// The variables whose names begin with `prefix`, without it.
    pub fn variables_after<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Said)> {
        self.variables
            .iter()
            .filter_map(move |(name, said)| Some((name.strip_prefix(prefix)?, said)))
            .filter(|(name, _)| !name.is_empty())
    }
}

/// Whether a stronger variable for the same thing has spoken in the same place already.
fn outdone(known: &Setting, said: &Said, name: &str, source: &Source) -> bool {
    let before = match (&said.source, source) {
        (Source::EnvFile { path, name, .. }, Source::EnvFile { path: here, .. })
            if path == here =>
        {
            name
        }
        (Source::Environment { name }, Source::Environment { .. }) => name,
        _ => return false,
    };
    let strength = |name: &str| known.variables.iter().position(|known| *known == name);
    strength(before) > strength(name)
}

fn unknown(key: &str, value: &str, source: &Source) -> Problem {
    let expected = match setting::nearest(key) {
        Some(near) => format!("no such setting; did you mean {near}?"),
        None => "no such setting; `hawser config` lists them all".to_owned(),
    };
    Problem::wrong(key, value, source, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag() -> Source {
        Source::Flag { name: "--set".into() }
    }

    #[test]
    fn a_later_layer_wins_and_keeps_its_source() {
        let mut values = Values::default();
        values.set("dns.listen", "127.0.0.1:1".into(), Source::Toml { path: "a".into() });
        values.set("dns.listen", "127.0.0.1:2".into(), flag());

        let said = values.setting(setting::find("dns.listen").unwrap());

        assert_eq!(said, Said { value: "127.0.0.1:2".into(), source: flag() });
    }

    #[test]
    fn a_variable_of_istio_says_the_setting_it_stands_for() {
        let mut values = Values::default();
        let source = Source::Environment { name: "CA_ADDR".into() };
        values.set_variable("CA_ADDR", "ca:1".into(), source.clone());

        let said = values.setting(setting::find("istiod.ca_address").unwrap());

        assert_eq!(said, Said { value: "ca:1".into(), source });
    }

    #[test]
    fn of_two_variables_in_one_file_the_stronger_wins_in_any_order() {
        let names = ["POD_NAMESPACE", "ISTIO_NAMESPACE"];
        for order in [names, [names[1], names[0]]] {
            let mut values = Values::default();
            for (line, name) in order.into_iter().enumerate() {
                let source = Source::EnvFile { path: "f".into(), line, name: name.into() };
                values.set_variable(name, name.to_lowercase(), source);
            }
            let said = values.setting(setting::find("node.namespace").unwrap());
            assert_eq!(said.value, "istio_namespace", "{order:?}");
        }
    }

    #[test]
    fn an_empty_variable_leaves_the_setting_alone() {
        let mut values = Values::default();
        values.set_variable("TRUST_DOMAIN", String::new(), flag());

        let said = values.setting(setting::find("node.trust_domain").unwrap());

        assert_eq!(said.value, "cluster.local");
        assert_eq!(values.variable("TRUST_DOMAIN").unwrap().value, "");
    }

    #[test]
    fn an_unknown_setting_is_a_problem_that_names_the_nearest() {
        let mut values = Values::default();
        values.set("dns.lisen", "x".into(), flag());

        assert_eq!(
            values.problems[0].to_string(),
            r#"dns.lisen = "x" (from --set): no such setting; did you mean dns.listen?"#
        );
    }
}
