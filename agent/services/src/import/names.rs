//! A list of names: `HOST:PORT`, `HOST:PORT/PROTOCOL`, and behind it who answers.

use std::path::Path;

use super::{Found, problem};
use crate::{
    file::{at, words},
    model::Protocol,
    problem::Problems,
};

/// Reads a name from every line that says something; all that are wrong are told.
pub(super) fn read(text: &str, name: &Path, found: &mut Found) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let said = line.split('#').next().unwrap_or_default().trim();
        if !said.is_empty() && service(said, found).is_none() {
            let what = at::quoted(said);
            problems.push(problem(name, index + 1, "a name", what, EXPECTED));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

fn service(line: &str, found: &mut Found) -> Option<()> {
    let mut said = line.split_whitespace();
    let (host, port) = said.next()?.split_once(':')?;
    let (port, protocol) = match port.split_once('/') {
        Some((port, protocol)) => (port, words::protocol(protocol)?),
        None => (port, Protocol::Http),
    };
    let port = at::port(port)?;
    // Only its form is asked for: the trust domain is the file's.
    let id = |id: &str| words::identity(id, "cluster.local").map(|_| id.to_owned());
    let ids = said.map(id).collect::<Option<Vec<_>>>()?;
    let service = found.services.entry(words::host(host)?).or_default();
    service.ports.insert(port, protocol);
    service.identities.extend(ids);
    Some(())
}

const EXPECTED: &str = "HOST:PORT or HOST:PORT/PROTOCOL (http, http2, grpc or tcp), and after it \
                        who answers, such as ns/prod/sa/reviews";
