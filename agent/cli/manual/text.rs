//! Sections of a page, from text that reads well as it stands: what follows a command's `--help`.
//!
//! - `Files:` at the beginning of a line begins a section; what follows it on the line belongs to it.
//! - A line of two blanks is a term and, after two blanks more, what it means. More of that stands
//!   below, further in.
//! - One without a meaning is shown as it is typed: a command.
//! - Every other line is prose. `backquotes` stand around what is typed.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A section: its name, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Prose(String),
    Term(String, String),
    Typed(String),
    Gap,
}

impl Section {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), parts: Vec::new() }
    }

    /// One of a sentence.
    pub(super) fn of(name: &str, prose: &str) -> Self {
        Self { name: name.to_owned(), parts: vec![Part::Prose(prose.to_owned())] }
    }

    /// A term, and what it means.
    pub(super) fn term(&mut self, term: &str, means: String) {
        self.parts.push(Part::Term(term.to_owned(), means));
    }

    pub(super) fn append(&mut self, more: Self) {
        self.parts.extend(more.parts);
    }

    pub(super) fn write(&self, roff: &mut Roff) {
        roff.control("SH", [self.name.as_str()]);
        let mut typing = false;
        let mut gap = false;
        for (at, part) in self.parts.iter().enumerate() {
            if typing && !matches!(part, Part::Typed(_)) {
                roff.control("EE", []);
            }
            match part {
                Part::Prose(text) => {
                    if gap && at > 0 {
                        roff.control("PP", []);
                    }
                    roff.text(inlines(text));
                }
                Part::Term(term, means) => {
                    roff.control("TP", []);
                    roff.text([bold(term.as_str())]);
                    roff.text(inlines(means));
                }
                Part::Typed(line) => {
                    if !typing && at > 0 {
                        roff.control("PP", []);
                    }
                    if !typing {
                        roff.control("EX", []);
                    }
                    roff.text([roman(line.as_str())]);
                }
                Part::Gap => {}
            }
            typing = matches!(part, Part::Typed(_));
            gap = matches!(part, Part::Gap | Part::Typed(_) | Part::Term(..));
        }
        if typing {
            roff.control("EE", []);
        }
    }
}

/// All sections of a text, in its order; what stands before the first one are notes.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut section = Section::new(NOTES);
    for line in text.lines() {
        if let Some((name, rest)) = heading(line) {
            sections.push(std::mem::replace(&mut section, Section::new(&name)));
            section.parts.extend((!rest.is_empty()).then(|| Part::Prose(rest.to_owned())));
        } else {
            section.take(line);
        }
    }
    sections.push(section);
    sections.retain(|section| section.parts.iter().any(|part| *part != Part::Gap));
    sections
}

impl Section {
    fn take(&mut self, line: &str) {
        let said = line.trim();
        if said.is_empty() {
            self.parts.push(Part::Gap);
            return;
        }
        let indent = line.len() - line.trim_start().len();
        match (indent, said.split_once("  "), self.parts.last_mut()) {
            (3.., _, Some(Part::Term(_, means))) => {
                means.push(' ');
                means.push_str(said);
            }
            (0, _, Some(Part::Prose(text))) => {
                text.push(' ');
                text.push_str(said);
            }
            (0, ..) => self.parts.push(Part::Prose(said.to_owned())),
            (_, Some((term, means)), _) => {
                self.parts.push(Part::Term(term.to_owned(), means.trim().to_owned()));
            }
            (_, None, _) => self.parts.push(Part::Typed(said.to_owned())),
        }
    }
}

/// `Files:` alone, or with what follows one of those that pages usually have.
fn heading(line: &str) -> Option<(String, &str)> {
    let (name, rest) = line.split_once(':')?;
    let rest = rest.trim();
    let usual = USUAL.iter().find(|(said, _)| *said == name);
    let own = rest.is_empty() && name.starts_with(char::is_uppercase) && !name.contains('`');
    match usual {
        Some((_, section)) => Some(((*section).to_owned(), rest)),
        None if own => Some((name.to_uppercase(), rest)),
        None => None,
    }
}

/// Prose, with what stands between backquotes set apart.
pub(super) fn inlines(text: &str) -> Vec<Inline> {
    let pieces = text.split('`').enumerate();
    let inline = |(at, piece): (usize, &str)| if at % 2 == 1 { bold(piece) } else { roman(piece) };
    let mut inlines: Vec<_> = pieces.filter(|(_, piece)| !piece.is_empty()).map(inline).collect();
    if inlines.is_empty() {
        inlines.push(roman("-"));
    }
    inlines
}

pub(super) const NOTES: &str = "NOTES";
pub(super) const STATUS: &str = "EXIT STATUS";
pub(super) const SEE_ALSO: &str = "SEE ALSO";

/// What `--help` calls them, and what pages do.
const USUAL: [(&str, &str); 8] = [
    ("Exit codes", STATUS),
    ("Exit code", STATUS),
    ("Exit status", STATUS),
    ("Examples", "EXAMPLES"),
    ("Example", "EXAMPLES"),
    ("Files", "FILES"),
    ("See also", SEE_ALSO),
    ("Notes", NOTES),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_help_becomes_sections() {
        let text = "Before all.\nExit codes: 0 done, 1 failed.\n\nExamples:\n  hawser a\n  hawser b\n\
                    Files:\n  /etc/x  what it is,\n            and more\n";

        let found = sections(text);

        let names: Vec<_> = found.iter().map(|section| section.name.as_str()).collect();
        assert_eq!(names, ["NOTES", "EXIT STATUS", "EXAMPLES", "FILES"]);
        assert_eq!(found[3].parts, [Part::Term("/etc/x".into(), "what it is, and more".into())]);
        assert_eq!(
            found[2].parts,
            [Part::Typed("hawser a".into()), Part::Typed("hawser b".into())]
        );
    }

    #[test]
    fn a_sentence_with_a_colon_is_no_section() {
        assert_eq!(sections("`hawser join`: it joins").len(), 1);
        assert_eq!(sections("Two ways: one, and the other.")[0].name, NOTES);
    }

    #[test]
    fn what_is_typed_stands_out() {
        assert_eq!(inlines("say `it` now"), [roman("say "), bold("it"), roman(" now")]);
    }
}
