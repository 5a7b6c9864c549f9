//! The page of a command, from what clap knows of it.

use std::io;

use clap::{Arg, ArgAction, Command};
use clap_mangen::{Man, roff::Roff};

use super::{
    OVERVIEW, Page,
    text::{self, SEE_ALSO, STATUS, Section},
};

/// The page of a command, and those of the commands below it.
pub(super) fn of(
    command: &Command,
    above: Option<&str>,
    date: &str,
    pages: &mut Vec<Page>,
) -> io::Result<()> {
    if command.is_hide_set() {
        return Ok(());
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push(page(command, &name, above, date)?);
    for below in command.get_subcommands() {
        of(below, Some(&name), date, pages)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str, above: Option<&str>, date: &str) -> io::Result<Page> {
    let shown = command.clone().override_usage(usage(command)).subcommand_help_heading("COMMANDS");
    let shown = shown.long_about(description(command));
    // Options of every command are told once.
    let shown = match above {
        Some(_) => EVERYWHERE.iter().fold(shown, |shown, id| shown.mut_arg(id, |it| it.hide(true))),
        None => shown,
    };
    let man = Man::new(shown)
        .title(name.to_uppercase())
        .section("8")
        .date(date)
        .source(format!("hawser {}", crate::VERSION))
        .manual("System Administration");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::new();
    for section in sections(command, above) {
        section.write(&mut roff);
    }
    roff.to_writer(&mut text)?;
    Ok(Page { file: format!("{name}.8"), text: polished(&text) })
}

/// What there is to say beyond the line that stands above it.
fn description(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let more = long.strip_prefix(&about).map(str::trim).filter(|more| !more.is_empty());
    more.map_or_else(
        || if long.is_empty() { format!("{about}.") } else { long.clone() },
        str::to_owned,
    )
}

/// What stands below the options: what `--help` ends with, and what every page has.
fn sections(command: &Command, above: Option<&str>) -> Vec<Section> {
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let mut sections = text::sections(&after.map(ToString::to_string).unwrap_or_default());
    if above.is_none() {
        // What a help says in a line, the overview says in full.
        let overview = text::sections(OVERVIEW);
        sections.retain(|section| !overview.iter().any(|full| full.name == section.name));
        sections.extend(overview);
    } else if !sections.iter().any(|section| section.name == STATUS) {
        let usual = "0 if it is done. `hawser`(8) lists the others.";
        sections.push(Section::of(STATUS, usual));
    }
    add(&mut sections, see_also(above));
    let order = |section: &Section| ORDER.iter().position(|name| *name == section.name);
    sections.sort_by_key(|section| order(section).unwrap_or(0));
    sections
}

/// More of a section that is there, or a new one.
fn add(sections: &mut Vec<Section>, more: Section) {
    match sections.iter_mut().find(|section| section.name == more.name) {
        Some(there) => there.append(more),
        None => sections.push(more),
    }
}

fn see_also(above: Option<&str>) -> Section {
    let pages = match above {
        None => {
            "`hawser.toml`(5), `hawser-services`(5), `systemctl`(1), `journalctl`(1)".to_owned()
        }
        Some("hawser") => "`hawser`(8), `hawser.toml`(5)".to_owned(),
        Some(above) => format!("`{above}`(8), `hawser`(8), `hawser.toml`(5)"),
    };
    Section::of(SEE_ALSO, &pages)
}

/// How the command is typed: what it is called, what may follow, what has to.
fn usage(command: &Command) -> String {
    let mut words = vec![command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned()];
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let (last, first): (Vec<&Arg>, Vec<&Arg>) =
        shown.partition(|argument| argument.is_positional());
    let own = |argument: &&&Arg| !EVERYWHERE.contains(&argument.get_id().as_str());
    words.extend(first.iter().filter(own).chain(&last).map(|argument| word(argument)));
    if command.has_subcommands() {
        words.push("COMMAND".to_owned());
    }
    words.join(" ")
}

fn word(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value = match names {
        [] => argument.get_id().as_str().to_uppercase(),
        names => names.join(" "),
    };
    let valued = argument.get_action().takes_values();
    let optional = argument.get_num_args().is_some_and(|range| range.min_values() == 0);
    let word = match (argument.get_long(), valued) {
        (Some(long), true) if optional => format!("--{long} [{value}]"),
        (Some(long), true) => format!("--{long} {value}"),
        (Some(long), false) => format!("--{long}"),
        (None, _) => value,
    };
    let word = if argument.is_required_set() { word } else { format!("[{word}]") };
    match argument.get_action() {
        ArgAction::Append => format!("{word} ..."),
        _ => word,
    }
}

/// One preamble is enough, and so is one break; long lists may be broken after a comma; and what
/// stands between backquotes is set apart here too.
pub(super) fn polished(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let again = PREAMBLE.contains(&line) && lines.iter().any(|there| there == line);
        let twice = line == ".br" && lines.last().is_some_and(|last| last == line);
        if again || twice || line.is_empty() {
            continue;
        }
        lines.push(if line.starts_with('.') { line.to_owned() } else { set_apart(line) });
    }
    lines.push(String::new());
    lines.join("\n").into_bytes()
}

fn set_apart(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let paired = line.matches('`').count().is_multiple_of(2);
    let (mut typed, mut before) = (false, ' ');
    for c in line.chars() {
        if before == ',' && !c.is_whitespace() {
            text.push_str("\\:");
        }
        before = c;
        if c == '`' && paired {
            typed = !typed;
            text.push_str(if typed { "\\fB" } else { "\\fR" });
        } else {
            text.push(c);
        }
    }
    text
}

/// Options that every command has.
const EVERYWHERE: [&str; 3] = ["root", "set", "help"];
const PREAMBLE: [&str; 2] = [".ie \\n(.g .ds Aq \\(aq", ".el .ds Aq '"];

/// The order in which people look for them; what is not here comes first.
const ORDER: [&str; 9] = [
    "",
    "UNITS",
    "FILES",
    "ENVIRONMENT",
    STATUS,
    "EXAMPLES",
    "COMPATIBILITY",
    text::NOTES,
    SEE_ALSO,
];
