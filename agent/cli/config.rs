//! `hawser config`: every setting, its value and who said it.

use clap::Args;
use serde_json::json;

use super::{Context, Exit, complain_of, say};
use crate::config::{
    problem::Problems,
    setting::{SETTINGS, Setting},
    source,
    values::{Said, Source},
};

/// Show every setting, its value and where it comes from
#[derive(Debug, Args)]
pub(super) struct Show {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// As a commented hawser.toml with the defaults
    #[arg(long, conflicts_with = "json")]
    template: bool,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Exit {
        if self.template {
            say(template().trim_end());
            return Exit::Ok;
        }
        let sources = source::read(&context.paths, &context.environment, &context.flags);
        let said = SETTINGS.iter().map(|setting| (setting, sources.values.setting(setting)));
        if self.json {
            let entry = |(setting, said): (&Setting, Said)| {
                let source = said.source.to_string();
                (setting.key.to_owned(), json!({ "value": said.value, "source": source }))
            };
            say(serde_json::Value::Object(said.map(entry).collect()));
        } else {
            for (setting, said) in said {
                say(line(setting, &said));
            }
        }
        match Problems::check(sources.values.problems) {
            Ok(()) => Exit::Ok,
            Err(problems) => complain_of(&problems),
        }
    }
}

fn line(setting: &Setting, said: &Said) -> String {
    let value = if said.value.is_empty() { "-" } else { &said.value };
    match said.source {
        Source::Default => format!("{:<24} {value}", setting.key),
        _ => format!("{:<24} {value:<40} {}", setting.key, said.source),
    }
}

/// The configuration file that the package installs: everything said, nothing set.
fn template() -> String {
    let mut text = String::from(
        "# hawser: settings of this machine, stronger than what the mesh says and weaker than the\n\
         # environment. `hawser config` shows what holds and why; `hawser check` finds mistakes.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (group, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if group != section {
            section = group;
            text.push_str(&format!("\n[{group}]\n"));
        }
        text.push_str(&format!("# {}\n# Expected: {}.\n", setting.about, setting.expected));
        text.push_str(&format!("#{name} = {:?}\n", setting.default));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_toml_that_sets_nothing_and_names_everything() {
        let text = template();

        let table = text.parse::<toml::Table>().unwrap();
        assert!(table.values().all(|group| group.as_table().unwrap().is_empty()));
        let uncommented = text.replace("\n#", "\n").replace("\n ", "\n# ");
        let table = uncommented.parse::<toml::Table>().unwrap();
        let names = table.values().map(settings).sum::<usize>();
        assert_eq!(names, SETTINGS.len());
    }

    /// How many there are, in groups of groups too.
    fn settings(value: &toml::Value) -> usize {
        value.as_table().map_or(1, |group| group.values().map(settings).sum())
    }
}
