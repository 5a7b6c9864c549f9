//! hawser.toml(5), from the table of settings.

use std::io;

use clap_mangen::roff::Roff;

use super::{
    Page,
    page::polished,
    text::{self, SEE_ALSO, Section},
};
use crate::config::{
    setting::{SETTINGS, Setting},
    source::FIELDS,
};

/// The page.
pub(super) fn page(date: &str) -> io::Result<Page> {
    let mut roff = Roff::new();
    let source = format!("hawser {}", crate::VERSION);
    roff.control("TH", ["HAWSER.TOML", "5", date, &source, "File Formats"]);
    roff.control("SH", ["NAME"]);
    roff.text(text::inlines("hawser.toml - settings of a machine in a mesh"));
    for section in text::sections(AROUND).into_iter().chain(groups()) {
        section.write(&mut roff);
    }
    Section::of(SEE_ALSO, "`hawser`(8), `hawser-config`(8), `hawser-check`(8)").write(&mut roff);
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(Page { file: "hawser.toml.5".to_owned(), text: polished(&text) })
}

/// A section for each table of the file.
fn groups() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for setting in SETTINGS {
        let (table, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        let heading = format!("[{table}]");
        if sections.last().is_none_or(|section| section.name != heading) {
            sections.push(Section::new(&heading));
        }
        if let Some(section) = sections.last_mut() {
            section.term(name, meaning(setting));
        }
    }
    sections
}

fn meaning(setting: &Setting) -> String {
    let default = match setting.default {
        "" => "no default".to_owned(),
        default => format!("default `{default}`"),
    };
    let mut meaning = format!("{} A value is {}; {default}.", setting.about, setting.expected);
    let variables = setting.variables.iter().map(|name| format!("`{name}`"));
    let field = FIELDS.iter().find(|(_, key)| *key == setting.key);
    let field = field.map(|(field, _)| format!("`{field}` of the mesh's proxy configuration"));
    let names: Vec<String> = variables.chain(field).collect();
    if !names.is_empty() {
        meaning.push_str(&format!(" Istio says {}.", names.join(", ")));
    }
    meaning
}

const AROUND: &str = include_str!("settings.txt");
