//! Where one reads, and what is found to be wrong there.

use std::{
    fmt::Display,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use super::tree::{Entry, Kind, Node};
use crate::problem::{Place, Problem};

/// What is wrong with one file.
#[derive(Debug)]
pub(super) struct Judge {
    file: PathBuf,
    pub(super) problems: Vec<Problem>,
}

/// A value, and how one came to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) node: &'a Node<'a>,
    up: Option<&'a Self>,
    step: Step<'a>,
    line: u32,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Item(usize),
}

/// A mapping whose keys are known. What is not asked for is wrong, so the questions are the list.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) at: &'a At<'a>,
    entries: &'a [Entry<'a>],
    asked: Vec<&'static str>,
}

impl Judge {
    pub(super) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), problems: Vec::new() }
    }

    pub(super) fn place(&self, line: u32) -> Place {
        Place { file: self.file.clone(), line }
    }

    /// The file that a path leads to from this one.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    pub(super) fn at(
        &mut self,
        line: u32,
        what: impl Display,
        found: impl Display,
        expected: impl Display,
    ) {
        let what = match what.to_string() {
            all if all.is_empty() => "the file".to_owned(),
            what => what,
        };
        self.problems.push(Problem {
            place: self.place(line),
            what,
            // It may be of the parser's making, which shows what it has met.
            found: found.to_string().replace(char::is_control, "\u{fffd}"),
            expected: expected.to_string(),
        });
    }

    /// Something else was found.
    pub(super) fn wrong(&mut self, at: &At<'_>, found: impl Display, expected: impl Display) {
        self.at(at.line, at.what(), found, expected);
    }

    /// This value is not what was expected.
    pub(super) fn unfit(&mut self, at: &At<'_>, expected: impl Display) {
        self.wrong(at, shown(at.node), expected);
    }

    /// A key is not there.
    pub(super) fn missing(&mut self, section: &Section<'_>, key: &str, expected: impl Display) {
        let what = Step::Key(key).after(section.at.what());
        self.at(section.at.line, what, "", expected);
    }
}

impl<'a> At<'a> {
    pub(super) fn root(node: &'a Node<'a>) -> Self {
        Self { node, up: None, step: Step::Root, line: node.line }
    }

    /// What it is about: `services[3].port`.
    pub(super) fn what(&self) -> String {
        self.step.after(self.up.map(At::what).unwrap_or_default())
    }

    pub(super) const fn line(&self) -> u32 {
        self.line
    }

    /// What was said in one word.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => None,
        }
    }

    /// The items of a list; nothing is an empty one, and None is something else.
    pub(super) fn items(&'a self) -> Option<impl ExactSizeIterator<Item = Self>> {
        let items = match &self.node.kind {
            Kind::List(items) => items.as_slice(),
            _ if self.node.is_null() => &[],
            _ => return None,
        };
        Some(items.iter().enumerate().map(|(index, node)| Self {
            node,
            up: Some(self),
            step: Step::Item(index),
            line: node.line,
        }))
    }
}

impl Step<'_> {
    fn after(self, before: String) -> String {
        match self {
            Self::Root => before,
            Self::Key(key) if before.is_empty() => key.to_owned(),
            Self::Key(key) => format!("{before}.{key}"),
            Self::Item(index) => format!("{before}[{index}]"),
        }
    }
}

impl<'a> Section<'a> {
    pub(super) fn open(at: &'a At<'a>, judge: &mut Judge) -> Option<Self> {
        match &at.node.kind {
            Kind::Map(entries) => Some(Self { at, entries, asked: Vec::new() }),
            _ => {
                judge.unfit(at, "a mapping of keys to values");
                None
            }
        }
    }

    /// What stands behind a key.
    pub(super) fn field(&mut self, key: &'static str) -> Option<At<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(At { node: &entry.value, up: Some(self.at), step: Step::Key(key), line: entry.line })
    }

    /// The value of a key, if it is one.
    pub(super) fn read<T>(
        &mut self,
        judge: &mut Judge,
        key: &'static str,
        expected: impl Display,
        value: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let at = self.field(key)?;
        at.value(judge, expected, value)
    }

    /// The same, of a key that has to be there.
    pub(super) fn required<T>(
        &mut self,
        judge: &mut Judge,
        key: &'static str,
        expected: impl Display,
        value: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        match self.field(key) {
            Some(at) => at.value(judge, expected, value),
            None => {
                judge.missing(self, key, expected);
                None
            }
        }
    }

    /// The values of a key that has one or a list of them; None if it is not there.
    pub(super) fn several<T>(
        &mut self,
        judge: &mut Judge,
        key: &'static str,
        (expected, most): (&str, usize),
        value: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let at = self.field(key)?;
        if at.text().is_some() {
            return Some(at.value(judge, expected, value).into_iter().collect());
        }
        let Some(items) = at.items() else {
            judge.unfit(&at, format!("{expected}, or a list of that"));
            return Some(Vec::new());
        };
        if items.len() > most {
            judge.wrong(&at, format!("{} of them", items.len()), format!("at most {most}"));
            return Some(Vec::new());
        }
        Some(items.filter_map(|item| item.value(judge, expected, &value)).collect())
    }

    /// The same, of a key that has to be there, with one value at least.
    pub(super) fn some<T>(
        &mut self,
        judge: &mut Judge,
        key: &'static str,
        (expected, most): (&str, usize),
        value: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(at) = self.field(key) else {
            judge.missing(self, key, expected);
            return None;
        };
        if at.items().is_some_and(|items| items.len() == 0) {
            judge.unfit(&at, expected);
            return None;
        }
        self.several(judge, key, (expected, most), value).filter(|values| !values.is_empty())
    }

    /// Tells what is there and has no business to be.
    pub(super) fn close(self, judge: &mut Judge) {
        for entry in self.entries {
            if !self.asked.contains(&entry.key.as_ref()) {
                let what = Step::Key(&quoted(&entry.key)).after(self.at.what());
                let expected = format!("one of {}", self.asked.join(", "));
                judge.at(entry.line, what, "a key that is not known", expected);
            }
        }
    }
}

impl At<'_> {
    /// What a word means, if it means something.
    pub(super) fn value<T>(
        &self,
        judge: &mut Judge,
        expected: impl Display,
        value: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let read = self.text().and_then(value);
        if read.is_none() {
            judge.unfit(self, expected);
        }
        read
    }
}

/// A value as a message shows it.
pub(super) fn shown(node: &Node<'_>) -> String {
    match &node.kind {
        _ if node.is_null() => "nothing".to_owned(),
        Kind::Scalar { text, .. } => quoted(text),
        Kind::List(items) if items.is_empty() => "an empty list".to_owned(),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a mapping".to_owned(),
    }
}

/// A word as a message shows it: by itself if it is one.
pub(crate) fn quoted(text: &str) -> String {
    let text = cut(text);
    let bare = |c: char| c.is_ascii_graphic() && c != '"';
    if !text.is_empty() && text.chars().all(bare) { text } else { format!("{text:?}") }
}

fn cut(text: &str) -> String {
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

/// A port, as it is written.
pub(crate) fn port(text: &str) -> Option<NonZeroU16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

pub(super) const A_PORT: &str = "a port from 1 to 65535";
/// How much of a value is shown.
const SHOWN: usize = 80;
