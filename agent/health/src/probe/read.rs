//! A probe out of JSON, in the form that proto3 gives it: numbers may be text, a name may be
//! spelled as in the protocol file, null is nothing, zero is the default, and what is not known is
//! passed over.

mod fields;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, uri::PathAndQuery};
use serde_json::Value;

use super::{Exec, Grpc, Http, Method, Probe, Scheme, Tcp, Thresholds};
use fields::Fields;

/// Something in a probe that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {wrong}")]
pub struct Problem {
    /// The field, say `readinessProbe.httpGet.port`.
    pub place: String,
    /// What it says, and what it should.
    pub wrong: String,
}

impl Probe {
    /// Reads `readinessProbe`, and says everything that is wrong with it.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        match probe(value, &mut problems) {
            Some(probe) if problems.is_empty() => Ok(probe),
            _ => Err(problems),
        }
    }
}

fn probe(value: &Value, problems: &mut Vec<Problem>) -> Option<Probe> {
    let fields = Fields::of(PROBE.to_owned(), value, problems)?;
    let mut number = |name, default| {
        let number = fields.number(name, MOST, problems);
        number.map(|number| if number == 0 { default } else { number })
    };
    let initial_delay = number("initialDelaySeconds", 0);
    let timeout = number("timeoutSeconds", 1);
    let period = number("periodSeconds", 10);
    let success = number("successThreshold", 1);
    let failure = number("failureThreshold", 1);
    let method = method(&fields, problems);
    let seconds = |number: u32| Duration::from_secs(number.into());
    Some(Probe {
        methods: vec![method?],
        initial_delay: seconds(initial_delay?),
        timeout: seconds(timeout?),
        period: seconds(period?),
        thresholds: Thresholds { success: success?, failure: failure? },
    })
}

fn method(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<Method> {
    let said: Vec<&str> = METHODS.into_iter().filter(|name| fields.value(name).is_some()).collect();
    let &[name] = said.as_slice() else {
        let wrong = if said.is_empty() {
            format!("does not say what to probe; expected one of {}", METHODS.join(", "))
        } else {
            format!("says {}; expected one of them", said.join(" and "))
        };
        problems.push(Problem { place: PROBE.to_owned(), wrong });
        return None;
    };
    let inner = Fields::of(format!("{PROBE}.{name}"), fields.value(name)?, problems)?;
    match name {
        HTTP => http(&inner, problems).map(Method::Http),
        TCP => {
            let (host, port) = (inner.host(problems), inner.port(problems));
            Some(Method::Tcp(Tcp { host: host?, port: port? }))
        }
        EXEC => exec(&inner, problems).map(Method::Exec),
        _ => {
            let (port, service) = (inner.port(problems), inner.text("service", problems));
            Some(Method::Grpc(Grpc { port: port?, service: service? }))
        }
    }
}

fn http(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<Http> {
    let host = fields.host(problems);
    let port = fields.port(problems);
    let scheme = fields.text("scheme", problems).and_then(|scheme| {
        match scheme.to_ascii_lowercase().as_str() {
            "" | "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => fields.wrong("scheme", format!("{scheme:?}; expected HTTP or HTTPS"), problems),
        }
    });
    let path = fields.text("path", problems).and_then(|text| {
        let path = PathAndQuery::try_from(escaped(&text)).ok();
        path.or_else(|| fields.wrong("path", format!("{text:?} is no path"), problems))
    });
    let headers = headers(fields, problems);
    Some(Http { scheme: scheme?, host: host?, port: port?, path: path?, headers: headers? })
}

fn headers(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (place, entry) in fields.list("httpHeaders", problems)? {
        let Some(entry) = Fields::of(place, entry, problems) else { continue };
        let (name, value) = (entry.text("name", problems), entry.text("value", problems));
        let name = name.and_then(|text| {
            let name = HeaderName::try_from(&text).ok();
            name.or_else(|| entry.wrong("name", format!("{text:?} names no header"), problems))
        });
        let value = value.and_then(|text| {
            let value = HeaderValue::try_from(text).ok();
            // It is not shown, because it may be a secret.
            value.or_else(|| entry.wrong("value", "cannot be sent in a header", problems))
        });
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    Some(headers)
}

fn exec(fields: &Fields<'_>, problems: &mut Vec<Problem>) -> Option<Exec> {
    let mut words = Vec::new();
    let before = problems.len();
    for (place, word) in fields.list("command", problems)? {
        match word.as_str().filter(|word| !word.contains('\0')) {
            Some(word) => words.push(word.to_owned()),
            None => {
                let wrong = "expected a text without a NUL character".to_owned();
                problems.push(Problem { place, wrong });
            }
        }
    }
    if problems.len() > before {
        return None;
    }
    let mut words = words.into_iter();
    let Some(program) = words.next() else {
        return fields.wrong("command", "expected a program and its arguments", problems);
    };
    if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
        let wrong = format!("{program:?}; expected the name of a program, or its absolute path");
        return fields.wrong("command[0]", wrong, problems);
    }
    Some(Exec { program, arguments: words.collect() })
}

/// The path of a request: from the root on, and in the letters that a request may have.
fn escaped(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    path.bytes().fold(slash.to_owned(), |mut escaped, byte| {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

const PROBE: &str = "readinessProbe";
const HTTP: &str = "httpGet";
const TCP: &str = "tcpSocket";
const EXEC: &str = "exec";
const METHODS: [&str; 4] = [HTTP, TCP, EXEC, "grpc"];
/// The largest number of its type in the protocol.
const MOST: u32 = i32::MAX.unsigned_abs();
