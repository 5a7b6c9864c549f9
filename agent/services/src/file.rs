//! The file, or a directory of fragments: read whole, and every problem told at once.
//!
//! Fragments count together: gateways, services and ports are added up, anything else may be said by
//! one of them. Nothing is guessed: what is not known, said twice, or does not go together is a
//! problem with its file and line, and with one problem there are no services.

pub(crate) mod at;
mod filters;
mod inbound;
mod service;
mod top;
mod tree;
mod whole;
pub(crate) mod words;

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use self::{
    at::{At, Judge, Section},
    top::Top,
};
use crate::{
    model::{Inbound, Services},
    problem::{Place, Problem, Problems},
};

/// The text of a file, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Text {
    pub path: PathBuf,
    pub text: String,
}

/// The texts at a path: the file, or the `*.yaml` and `*.yml` of a directory, by their names.
///
/// What editors leave beside them (`.services.yaml.swp`, `services.yaml~`) is none of it.
pub fn texts(path: &Path) -> Result<Vec<Text>, Problems> {
    let alone = |found: String, expected: &str| Problems(vec![whole_file(path, found, expected)]);
    let unread = |error: &io::Error| alone(error.to_string(), "a file, or a directory of them");
    if !fs::metadata(path).map_err(|error| unread(&error))?.is_dir() {
        return text(path).map(|text| vec![text]).map_err(|problem| Problems(vec![problem]));
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| unread(&error))? {
        let path = entry.map_err(|error| unread(&error))?.path();
        let visible =
            path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if visible && yaml {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(alone(format!("more than {MAX_FILES} files"), "fewer"));
        }
    }
    if paths.is_empty() {
        return Err(alone("none".to_owned(), "files that end in .yaml or .yml"));
    }
    paths.sort();
    let mut texts = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match text(&path) {
            Ok(text) => texts.push(text),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(texts) } else { Err(Problems(problems)) }
}

fn text(path: &Path) -> Result<Text, Problem> {
    let unread = |error: io::Error| whole_file(path, error.to_string(), "a file that can be read");
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unread)?;
    if !file.metadata().map_err(unread)?.is_file() {
        return Err(whole_file(path, "something else".to_owned(), "a file"));
    }
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > MAX_BYTES {
        return Err(too_large(path));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let lines = error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
        let line = u32::try_from(lines + 1).unwrap_or(u32::MAX);
        let mut problem = whole_file(path, "bytes that are no text".to_owned(), "UTF-8");
        problem.place.line = line;
        problem
    })?;
    Ok(Text { path: path.to_owned(), text })
}

/// What these texts say together. `trust_domain` is the machine's own.
pub fn parse(texts: &[Text], trust_domain: &str) -> Result<Services, Problems> {
    let mut problems = Vec::new();
    let mut top = Top::default();
    let size = texts.iter().map(|text| text.text.len()).sum::<usize>();
    if let Some(first) = texts.first()
        && size > MAX_BYTES
    {
        return Err(Problems(vec![too_large(&first.path)]));
    }
    let mut trees = Vec::new();
    for text in texts {
        let mut judge = Judge::new(&text.path);
        let tree = tree::read(&text.text, &mut judge);
        trees.extend(tree.filter(|tree| !tree.is_null()).map(|tree| (text, tree)));
        problems.append(&mut judge.problems);
    }
    let broken = !problems.is_empty();
    for (text, tree) in &trees {
        let mut judge = Judge::new(&text.path);
        let root = At::root(tree);
        if let Some(mut section) = Section::open(&root, &mut judge) {
            top.read(&mut section, &mut judge);
            // What is listed there is read when the mesh is known.
            let lists = ["services", "inbound"].map(|key| section.field(key).is_some());
            top.lists |= lists.contains(&true);
            section.close(&mut judge);
        }
        problems.append(&mut judge.problems);
    }
    let domain = top.trust_domain.value.as_deref().unwrap_or(trust_domain);
    let (mut services, mut inbound) = (Vec::new(), Vec::new());
    for (text, tree) in &trees {
        let mut judge = Judge::new(&text.path);
        lists(&At::root(tree), domain, &mut judge, (&mut services, &mut inbound));
        problems.append(&mut judge.problems);
    }
    if !broken {
        problems.append(&mut whole::judged(&top, &services, &inbound));
    }
    if problems.is_empty() && !top.lists {
        let path = texts.first().map_or(Path::new("services.yaml"), |text| &text.path);
        problems.push(whole_file(path, "nothing".to_owned(), "`services`, `inbound`, or both"));
    }
    if services.len() > MAX_SERVICES
        && let Some(first) = texts.first()
    {
        let found = format!("{} ports of services", services.len());
        problems.push(whole_file(&first.path, found, &format!("at most {MAX_SERVICES}")));
    }
    if !problems.is_empty() {
        return Err(ordered(problems));
    }
    services.sort_by(|a, b| {
        let key = |read: &service::Read| (read.service.port, read.service.local_port);
        a.service.host.cmp(&b.service.host).then_with(|| key(a).cmp(&key(b)))
    });
    let domain = domain.to_owned();
    top.gateways.sort_by_key(|gateway| gateway.priority);
    Ok(Services {
        trust_domain: domain,
        gateways: top.gateways,
        range: top.range.value.unwrap_or_default(),
        locality: top.locality.value.unwrap_or_default(),
        services: services.into_iter().map(|read| read.service).collect(),
        inbound,
        forwarder: top.forwarder.value,
        access_log: top.access_log.value,
    })
}

/// Whether ports stay apart when those below 1024 are raised by `low_ports`.
pub fn lifted(services: &Services, low_ports: u16) -> Result<(), Problems> {
    let problems = whole::lifted(services, low_ports);
    if problems.is_empty() { Ok(()) } else { Err(ordered(problems)) }
}

/// Reads what is listed in a fragment.
fn lists(
    root: &At<'_>,
    domain: &str,
    judge: &mut Judge,
    (services, inbound): (&mut Vec<service::Read>, &mut Vec<Inbound>),
) {
    // That it is a mapping has been seen.
    let Some(mut section) = Section::open(root, &mut Judge::new(Path::new(""))) else { return };
    if let Some(at) = section.field("services") {
        match at.items().filter(|items| items.len() <= MAX_SERVICES) {
            Some(items) => {
                for (index, item) in items.enumerate() {
                    service::read((index, &item), domain, judge, services);
                }
            }
            None => judge.unfit(&at, format!("a list of at most {MAX_SERVICES} services")),
        }
    }
    if let Some(at) = section.field("inbound") {
        match at.items().filter(|items| items.len() <= MAX_INBOUND) {
            Some(items) => {
                for item in items {
                    inbound.extend(inbound::read(&item, domain, judge));
                }
            }
            None => judge.unfit(&at, format!("a list of at most {MAX_INBOUND} ports")),
        }
    }
}

/// By file and line, each once, and no more than anybody reads.
fn ordered(mut problems: Vec<Problem>) -> Problems {
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    problems.dedup();
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        problems.truncate(MAX_PROBLEMS);
        if let Some(last) = problems.last() {
            let mut rest = whole_file(&last.place.file, format!("{more} more problems"), "none");
            "all of it".clone_into(&mut rest.what);
            problems.push(rest);
        }
    }
    Problems(problems)
}

fn whole_file(path: &Path, found: String, expected: &str) -> Problem {
    let place = Place { file: path.to_owned(), line: 0 };
    Problem { place, what: "the file".to_owned(), found, expected: expected.to_owned() }
}

fn too_large(path: &Path) -> Problem {
    let limit = format!("at most {} MiB in all", MAX_BYTES >> 20);
    whole_file(path, "more than that".to_owned(), &limit)
}

const MAX_BYTES: usize = 16 << 20;
const MAX_FILES: usize = 1024;
const MAX_SERVICES: usize = 20_000;
const MAX_INBOUND: usize = 256;
const MAX_PROBLEMS: usize = 1000;

#[cfg(test)]
mod tests;
