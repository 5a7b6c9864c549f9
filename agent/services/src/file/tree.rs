//! YAML as it was written: every value with its line, every scalar with its own text.
//!
//! What a plain `1.10` or `off` means depends on where it stands, so nothing is guessed here. A text
//! is read as far as it can be; what repeats itself is told, all of it. Whatever a text holds, it
//! costs no more than [`NODES`] values and [`DEPTH`] levels, aliases written out.

use std::{borrow::Cow, collections::HashMap, mem};

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, Span, StrInput};

use super::at::{Judge, quoted};

/// A value.
#[derive(Debug, Clone)]
pub(super) struct Node<'t> {
    pub(super) line: u32,
    pub(super) kind: Kind<'t>,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Kind<'t> {
    Scalar { text: Cow<'t, str>, plain: bool },
    List(Vec<Node<'t>>),
    Map(Vec<Entry<'t>>),
}

/// A key, and what stands behind it.
#[derive(Debug, Clone)]
pub(super) struct Entry<'t> {
    pub(super) line: u32,
    pub(super) key: Cow<'t, str>,
    pub(super) value: Node<'t>,
}

impl Node<'_> {
    /// Whether nothing was said.
    pub(super) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar { text, plain: true } => {
                matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}

/// The one document of a text; None if there is none, or none that can be read.
pub(super) fn read<'t>(text: &'t str, judge: &mut Judge) -> Option<Node<'t>> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH,
        block_nesting_limit: DEPTH,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser: Parser<'t, StrInput<'t>> = Parser::new_from_str_with_options(text, options);
    let mut tree = Tree::default();
    while let Some(event) = parser.next_event() {
        let told = match event {
            Ok((event, span)) => tree.take(event, span, judge),
            Err(error) => {
                let found = format!("a mistake: {}", error.info());
                judge.at(line(error.marker().line()), "YAML", found, "YAML that can be read");
                Err(Enough)
            }
        };
        if told.is_err() {
            return None;
        }
    }
    tree.root
}

/// There is no sense in reading on.
struct Enough;

/// A tree that grows.
#[derive(Default)]
struct Tree<'t> {
    root: Option<Node<'t>>,
    open: Vec<Open<'t>>,
    /// What aliases stand for, with what it costs.
    anchors: HashMap<usize, (Node<'t>, Cost)>,
    documents: usize,
    nodes: usize,
}

/// A list or a mapping that has not ended.
struct Open<'t> {
    node: Node<'t>,
    /// The key whose value comes next.
    key: Option<(u32, Cow<'t, str>)>,
    anchor: usize,
    cost: Cost,
}

/// What a value costs wherever it stands.
#[derive(Debug, Clone, Copy)]
struct Cost {
    nodes: usize,
    depth: usize,
}

impl<'t> Tree<'t> {
    fn take(&mut self, event: Event<'t>, span: Span, judge: &mut Judge) -> Result<(), Enough> {
        let line = line(span.start.line());
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema()) {
            judge.at(line, "YAML", format!("the tag {}", tag.original()), "no tags");
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    judge.at(line, "YAML", "a second document", "one document in a file");
                    return Err(Enough);
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let node = Node { line, kind: Kind::Scalar { text, plain } };
                self.place(node, Cost { nodes: 1, depth: 1 }, anchor, judge)?;
            }
            Event::SequenceStart(_, anchor, _) => self.begin(line, Kind::List(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.begin(line, Kind::Map(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { mut node, anchor, cost, .. }) = self.open.pop() {
                    if let Kind::Map(entries) = &mut node.kind {
                        once(entries, judge);
                    }
                    let cost = Cost { nodes: cost.nodes + 1, depth: cost.depth + 1 };
                    self.place(node, cost, anchor, judge)?;
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some((node, cost)) => {
                    let (node, cost) = (Node { line, kind: node.kind.clone() }, *cost);
                    self.place(node, cost, 0, judge)?;
                }
                None => {
                    judge.at(
                        line,
                        "YAML",
                        "an alias of what it stands in",
                        "an alias of what came before",
                    );
                    return Err(Enough);
                }
            },
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, line: u32, kind: Kind<'t>, anchor: usize) {
        let node = Node { line, kind };
        self.open.push(Open { node, key: None, anchor, cost: Cost { nodes: 0, depth: 0 } });
    }

    /// Puts a whole value where it belongs.
    fn place(
        &mut self,
        node: Node<'t>,
        cost: Cost,
        anchor: usize,
        judge: &mut Judge,
    ) -> Result<(), Enough> {
        let line = node.line;
        self.nodes += cost.nodes;
        if anchor != 0 {
            self.nodes += cost.nodes;
        }
        if self.nodes > NODES {
            judge.at(line, "YAML", "more than that", format!("at most {NODES} values"));
            return Err(Enough);
        }
        if self.open.len() + cost.depth > DEPTH {
            judge.at(line, "YAML", "more than that", format!("at most {DEPTH} levels"));
            return Err(Enough);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.cost.nodes += cost.nodes;
        open.cost.depth = open.cost.depth.max(cost.depth);
        match (&mut open.node.kind, open.key.take()) {
            (Kind::Map(entries), Some((line, key))) => {
                entries.push(Entry { line, key, value: node });
            }
            (Kind::Map(_), None) => {
                let key = match node.kind {
                    Kind::Scalar { text, .. } => text,
                    Kind::List(_) | Kind::Map(_) => {
                        judge.at(line, "YAML", "a list or a mapping as a key", "a word as a key");
                        Cow::Borrowed("")
                    }
                };
                open.key = Some((line, key));
            }
            (Kind::List(items), _) => items.push(node),
            (Kind::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

/// Keeps the first of what was said twice, and puts in what is merged.
fn once<'t>(entries: &mut Vec<Entry<'t>>, judge: &mut Judge) {
    let mut lines: HashMap<Cow<'t, str>, u32> = HashMap::with_capacity(entries.len());
    let mut merged = Vec::new();
    let mut kept = Vec::with_capacity(entries.len());
    for entry in mem::take(entries) {
        if entry.key == "<<" {
            let maps = match entry.value.kind {
                Kind::List(maps) => maps,
                _ => vec![entry.value],
            };
            for map in maps {
                match map.kind {
                    Kind::Map(more) => merged.extend(more),
                    _ => judge.at(entry.line, "<<", "something else", "an alias of a mapping"),
                }
            }
            continue;
        }
        if let Some(first) = lines.get(&entry.key) {
            let found = format!("it again, after line {first}");
            judge.at(entry.line, quoted(&entry.key), found, "every key once");
            continue;
        }
        lines.insert(entry.key.clone(), entry.line);
        kept.push(entry);
    }
    for entry in merged {
        if !lines.contains_key(&entry.key) {
            lines.insert(entry.key.clone(), entry.line);
            kept.push(entry);
        }
    }
    *entries = kept;
}

fn line(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// How many values a text may have.
const NODES: usize = 2_000_000;
/// How deep they may stand in each other.
pub(super) const DEPTH: usize = 48;
