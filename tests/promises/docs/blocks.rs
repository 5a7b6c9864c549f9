//! What stands in a document between fences, and what it is for.
//!
//! - `console`: typed on a machine, as root. A line after `$ ` is a command, those below it are what
//!   it prints at least: in this order, `…` for whatever stands there. `console,exit=3` says how the
//!   last of them ends, and `console,cluster` is for elsewhere: nothing of it is run.
//! - `toml`: for hawser.toml, which says that and nothing else from `toml,here` on.
//! - `yaml`, `ini`, `text`: to be read.
//!
//! A comment of HTML that begins with `in the test:` is a stage direction: readers do not see it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// A document of packaging/docs, or the README.
pub(super) struct Document {
    pub(super) name: String,
    pub(super) text: String,
}

/// What stands between two fences.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) line: usize,
    pub(super) language: String,
    pub(super) attributes: Vec<String>,
    pub(super) text: String,
}

/// What happens, in the order of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Typed(Typed),
    Settings(String),
    Direction(String),
}

/// A command, and what comes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) line: usize,
    pub(super) command: String,
    pub(super) prints: Vec<String>,
    pub(super) exit: i32,
}

impl Document {
    /// All that are installed.
    pub(super) fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(directory()).context("read packaging/docs")? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "md") {
                all.push(Self::read(&path)?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        ensure!(!all.is_empty(), "no documents");
        Ok(all)
    }

    pub(super) fn named(name: &str) -> Result<Self> {
        Self::read(&directory().join(name))
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, text })
    }

    pub(super) fn blocks(&self) -> Result<Vec<Block>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (at, line) in self.text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (fence, open.as_mut()) {
                (Some(""), Some(_)) => blocks.extend(open.take()),
                (Some(kind), None) => {
                    ensure!(line.starts_with("```"), "{}:{}: indented", self.name, at + 1);
                    let mut words = kind.split(',').map(str::to_owned);
                    let language = words.next().unwrap_or_default();
                    let attributes = words.collect();
                    let text = String::new();
                    open = Some(Block { line: at + 1, language, attributes, text });
                }
                (Some(_), Some(_)) => bail!("{}:{}: a fence in a block", self.name, at + 1),
                (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
                (None, None) => {}
            }
        }
        ensure!(open.is_none(), "{}: a block without an end", self.name);
        Ok(blocks)
    }

    /// What is to be done on a machine, from the beginning to the end.
    pub(super) fn steps(&self) -> Result<Vec<Step>> {
        let mut steps: Vec<(usize, Step)> = Vec::new();
        for (at, line) in self.text.lines().enumerate() {
            let said = line.strip_prefix("<!-- in the test: ").and_then(|l| l.strip_suffix(" -->"));
            steps.extend(said.map(|said| (at + 1, Step::Direction(said.to_owned()))));
        }
        for block in self.blocks()? {
            let is = |word: &str| block.attributes.iter().any(|attribute| attribute == word);
            if block.language == "toml" && is("here") {
                steps.push((block.line, Step::Settings(block.text)));
            } else if block.language == "console" && !is("cluster") {
                let typed = block.typed().with_context(|| self.name.clone())?;
                steps.extend(typed.into_iter().map(|typed| (typed.line, Step::Typed(typed))));
            }
        }
        steps.sort_by_key(|(line, _)| *line);
        Ok(steps.into_iter().map(|(_, step)| step).collect())
    }
}

impl Block {
    /// The commands of it.
    pub(super) fn typed(&self) -> Result<Vec<Typed>> {
        let mut typed: Vec<Typed> = Vec::new();
        let mut unfinished = false;
        for (at, line) in self.text.lines().enumerate() {
            let line_number = self.line + 1 + at;
            match (line.strip_prefix("$ "), typed.last_mut()) {
                (None, Some(last)) if unfinished => {
                    last.command.push_str(&format!("\n{line}"));
                }
                (Some(command), _) => typed.push(Typed {
                    line: line_number,
                    command: command.to_owned(),
                    prints: Vec::new(),
                    exit: 0,
                }),
                (None, Some(last)) => last.prints.push(line.to_owned()),
                (None, None) => bail!("line {line_number}: no command before it"),
            }
            let command = typed.last().map(|last| last.command.as_str()).unwrap_or_default();
            unfinished = command.ends_with('\\') && line.ends_with('\\');
        }
        let exit = self.attributes.iter().find_map(|word| word.strip_prefix("exit="));
        if let (Some(exit), Some(last)) = (exit, typed.last_mut()) {
            last.exit = exit.parse().with_context(|| format!("line {}: exit", self.line))?;
        }
        ensure!(!typed.is_empty(), "line {}: a console without a command", self.line);
        Ok(typed)
    }
}

impl Typed {
    /// The first line of what is expected that was not printed.
    pub(super) fn missing(&self, printed: &str) -> Option<&str> {
        let mut lines = printed.lines().map(plain);
        let expected = self.prints.iter().filter(|line| !["", "…"].contains(&line.trim()));
        { expected }
            .find(|expected| !lines.any(|line| fits(&plain(expected), &line)))
            .map(String::as_str)
    }
}

/// Blanks are for the eye.
fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line has in it what is between the dots, in this order.
fn fits(expected: &str, line: &str) -> bool {
    let mut rest = line;
    expected.split('…').map(str::trim).all(|piece| match rest.split_once(piece) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// Where they are.
pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/docs")
}

#[test]
fn a_block_is_read_as_it_is_meant() -> Result<()> {
    let text = "# A\n<!-- in the test: it rains -->\n```console,exit=3\n$ one \\\n  two\n$ three\n\
                all …  is\nwell\n```\n```console,cluster\n$ kubectl get x\n```\n";
    let document = Document { name: "a".to_owned(), text: text.to_owned() };

    let steps = document.steps()?;

    let [Step::Direction(rain), Step::Typed(one), Step::Typed(three)] = &steps[..] else {
        bail!("{steps:?}");
    };
    assert_eq!(rain, "it rains");
    assert_eq!((one.command.as_str(), one.exit), ("one \\\n  two", 0));
    assert_eq!((three.command.as_str(), three.exit), ("three", 3));
    assert_eq!(three.missing("so\nall that it is\nwell\n"), None);
    assert_eq!(three.missing("well\nall that it is\n"), Some("well"));
    Ok(())
}
