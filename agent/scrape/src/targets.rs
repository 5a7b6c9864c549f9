//! Where programs have their metrics: as Istio's annotations say it, or as a person would.

use serde::{Deserialize, Deserializer};

/// Where a program has its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// On this machine.
    pub port: u16,
    /// Perhaps with a query.
    pub path: String,
}

/// Why there are no targets to be had of a text.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum Unfit {
    #[error("{0}")]
    NotJson(#[from] serde_json::Error),
    #[error("{text:?} is no port")]
    Port { text: String },
    #[error("{text:?} is no path")]
    Path { text: String },
    #[error("more than {MOST} targets")]
    TooMany,
}

/// Reads `8080/metrics, 9102/stats?all`, or the JSON of `ISTIO_PROMETHEUS_ANNOTATIONS`.
pub fn parse(text: &str) -> Result<Vec<Target>, Unfit> {
    let text = text.trim();
    let targets = if text.starts_with('{') { annotated(text)? } else { listed(text)? };
    if targets.len() > MOST { Err(Unfit::TooMany) } else { Ok(targets) }
}

fn listed(text: &str) -> Result<Vec<Target>, Unfit> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let target = |word: &str| match word.find('/') {
        Some(slash) => {
            let (port, path) = word.split_at_checked(slash).unwrap_or((word, ""));
            target(port, path)
        }
        None => target(word, PATH),
    };
    words.take(MOST + 1).map(target).collect()
}

fn annotated(text: &str) -> Result<Vec<Target>, Unfit> {
    let said: Annotations = serde_json::from_str(text)?;
    if said.scrape.as_deref() == Some("false") {
        return Ok(Vec::new());
    }
    let path = |said: Option<String>| said.filter(|path| !path.is_empty());
    if said.targets.is_empty() {
        let port = said.port.filter(|port| !port.is_empty());
        let port = port.unwrap_or_else(|| PORT.to_owned());
        return Ok(vec![target(&port, path(said.path).as_deref().unwrap_or(PATH))?]);
    }
    let one = |said: Place| {
        let port = said.port.unwrap_or_default();
        target(&port, path(said.path).as_deref().unwrap_or(PATH))
    };
    said.targets.into_iter().take(MOST + 1).map(one).collect()
}

fn target(port: &str, path: &str) -> Result<Target, Unfit> {
    let port = match port.parse() {
        Ok(0) | Err(_) => return Err(Unfit::Port { text: port.to_owned() }),
        Ok(port) => port,
    };
    // Istio's agent writes one where there is none.
    let slash = if path.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{path}");
    let plain = path.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#');
    if !plain || path.len() > LONGEST_PATH {
        return Err(Unfit::Path { text: path });
    }
    Ok(Target { port, path })
}

/// What annotations of a workload say.
#[derive(Debug, Deserialize)]
struct Annotations {
    #[serde(default, deserialize_with = "word")]
    scrape: Option<String>,
    #[serde(default, deserialize_with = "word")]
    port: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    targets: Vec<Place>,
}

#[derive(Debug, Deserialize)]
struct Place {
    #[serde(default, deserialize_with = "word")]
    port: Option<String>,
    #[serde(default)]
    path: Option<String>,
}

/// A number or a truth may be quoted, or not.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Text(String),
        Number(u64),
        Truth(bool),
    }
    Ok(Option::<Word>::deserialize(from)?.map(|word| match word {
        Word::Text(text) => text,
        Word::Number(number) => number.to_string(),
        Word::Truth(truth) => truth.to_string(),
    }))
}

const PATH: &str = "/metrics";
const PORT: &str = "80";
const LONGEST_PATH: usize = 2048;
/// Each is asked at a time with the others.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_from_annotations_and_from_what_people_write() {
        let table = [
            ("", Some("")),
            ("8080", Some("8080/metrics")),
            ("8080/metrics, 9102/stats?all=1,", Some("8080/metrics 9102/stats?all=1")),
            ("{}", Some("80/metrics")),
            (r#"{"scrape":"true","path":"/prom","port":"9090"}"#, Some("9090/prom")),
            (r#"{"scrape":"true","path":"prom","port":9090}"#, Some("9090/prom")),
            (r#"{"scrape":"false","path":"/prom","port":"junk"}"#, Some("")),
            (r#"{"scrape":"","path":"","port":""}"#, Some("80/metrics")),
            (
                r#"{"port":"1","targets":[{"port":"9090"},{"port":9091,"path":"/b"}],"x":null}"#,
                Some("9090/metrics 9091/b"),
            ),
            (r#"{"targets":[{"path":"/b"}]}"#, None),
            (r#"{"port":"http"}"#, None),
            (r#"{"port":"0"}"#, None),
            (r#"{"port":"70000"}"#, None),
            (r#"{"path":"/a b"}"#, None),
            (r#"{"path":"/a\r\nHost: x"}"#, None),
            (r#"{"port""#, None),
            ("http://127.0.0.1:80/", None),
            ("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", None),
        ];
        for (text, expected) in table {
            let read = parse(text).ok().map(|targets| {
                let each = targets.iter().map(|target| format!("{}{}", target.port, target.path));
                each.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
