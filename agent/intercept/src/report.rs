//! What the guard says of itself to others, in a file: `hawser status`, `hawser intercept show`,
//! metrics.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::apply::Places;
use crate::gates::Gates;
use crate::guard::{OnFailure, Phase};

/// Everything. Fields are added, and never change their meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The guard.
    pub pid: u32,
    /// What it is doing.
    pub phase: Phase,
    /// Since when. Seconds since 1970, as all times here.
    pub since: u64,
    /// When this was written: at least every half a minute.
    pub at: u64,
    /// Whether Envoy takes connections.
    pub envoy: bool,
    /// What happens when it does not.
    pub on_failure: OnFailure,
    /// Whether each gate is open.
    pub gates: Gates<bool>,
    /// When a trial ends that nobody has confirmed yet, by the monotonic clock in milliseconds.
    pub trial: Option<u64>,
    /// How often the rules were found gone or changed, and put back.
    pub repairs: u64,
    /// When that was last, and what was wrong.
    pub drift: Option<Drift>,
    /// How often settings were read.
    pub read: u64,
    /// What in the settings does not do what it seems to.
    pub warnings: Vec<String>,
    /// What could not be done.
    pub trouble: Option<String>,
    /// What was hit, by rule.
    pub hits: Vec<Hit>,
}

/// Rules that were not as they had been loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct Drift {
    pub at: u64,
    pub what: String,
}

/// How often a rule was hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The chain it is in.
    pub chain: String,
    /// Its comment, or the rule as nft prints it.
    pub rule: String,
    /// New connections, or packets where there are no connections.
    pub packets: u64,
    /// Octets in them.
    pub bytes: u64,
}

impl Report {
    /// The last one of a guard that runs; none, if none does.
    pub fn read(places: &Places) -> Result<Option<Self>, Error> {
        let path = places.report();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Error::Malformed { path, reason: error.to_string() })
    }

    /// What is missing before programs can rely on the rules, in a short sentence; none if nothing
    /// is.
    pub fn missing(&self) -> Option<String> {
        let age = seconds().saturating_sub(self.at);
        if age > 2 * PERIOD {
            return Some(format!("hawser-intercept.service has not spoken for {age}s"));
        }
        if let Some(trouble) = &self.trouble {
            return Some(trouble.clone());
        }
        match self.phase {
            Phase::Off | Phase::Redirecting => None,
            // Either that is meant, or a warning says why.
            Phase::Idle => self.warnings.first().cloned(),
            Phase::Waiting | Phase::Holding | Phase::Lifted | Phase::Reverted => {
                Some(self.to_string())
            }
        }
    }

    pub(crate) fn write(&self, places: &Places) -> Result<(), Error> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        hawser_state::write_file(&places.report(), 0o644, &text)
            .map_err(|source| Error::Remember { source })
    }

    pub(crate) fn forget(places: &Places) -> Result<(), Error> {
        let path = places.report();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::Forget { path, source: error })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gates { outbound, inbound, dns } = self.gates;
        let open = [(outbound, "out"), (inbound, "in"), (dns, "names")];
        let open: Vec<_> = open.iter().filter(|(open, _)| *open).map(|(_, word)| *word).collect();
        match self.phase {
            Phase::Off => f.write_str("off"),
            Phase::Idle => f.write_str("nothing to redirect"),
            Phase::Waiting => f.write_str("waits for Envoy, nothing is redirected"),
            Phase::Redirecting => write!(f, "redirects {}", open.join(", ")),
            Phase::Holding => f.write_str("Envoy does not listen, connections fail"),
            Phase::Lifted if open.is_empty() => {
                f.write_str("Envoy does not listen, connections go past it")
            }
            Phase::Lifted => write!(
                f,
                "Envoy does not listen, connections go past it, but for {}",
                open.join(", ")
            ),
            Phase::Reverted => f.write_str("the trial was not confirmed, nothing is redirected"),
        }?;
        match &self.trial {
            Some(_) => f.write_str("; on trial"),
            None => Ok(()),
        }
    }
}

/// How old a report of a guard that lives becomes, in seconds.
pub(crate) const PERIOD: u64 = 30;

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_secs()
}

/// What was hit, in what `nft list table` has printed.
pub fn hits(listing: &str) -> Vec<Hit> {
    let mut chain = "";
    let mut hits: Vec<Hit> = Vec::new();
    for line in listing.lines() {
        if let Some(name) = line.strip_prefix("\tchain ") {
            chain = name.trim_end_matches([' ', '{']);
        }
        let Some(new) = hit(chain, line.trim()) else { continue };
        // The same for another family.
        let same = |hit: &&mut Hit| (&hit.chain, &hit.rule) == (&new.chain, &new.rule);
        match hits.iter_mut().find(same) {
            Some(hit) => {
                hit.packets = hit.packets.saturating_add(new.packets);
                hit.bytes = hit.bytes.saturating_add(new.bytes);
            }
            None => hits.push(new),
        }
    }
    hits
}

/// `tcp dport 53 counter packets 7 bytes 420 redirect to :15053 comment "questions"`.
fn hit(chain: &str, line: &str) -> Option<Hit> {
    let (before, counted) = line.split_once("counter packets ")?;
    let mut words = counted.splitn(4, ' ');
    let packets = words.next()?.parse().ok()?;
    let bytes = words.nth(1)?.parse().ok()?;
    let after = words.next().unwrap_or_default();
    let comment = after.rsplit_once("comment \"").and_then(|(_, text)| text.strip_suffix('"'));
    let rule = match comment {
        Some(comment) => comment.to_owned(),
        None => format!("{before}{after}"),
    };
    Some(Hit { chain: chain.to_owned(), rule, packets, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hit_is_told_by_comment_or_by_rule() {
        let listing = "table inet hawser {\n\tchain nat_out {\n\t\ttype nat hook output priority -100;\n\
            \t\ttcp dport 53 counter packets 7 bytes 420 redirect to :15053 comment \"questions\"\n\
            \t\ttcp dport 80 counter packets 1 bytes 60 redirect to :15001\n\
            \t\tcounter packets 0 bytes 0\n\
            \t\tip6 nexthdr 6 tcp dport 53 counter packets 1 bytes 80 redirect to :15053 comment \"questions\"\n\
            \t\treturn\n\t}\n}\n";
        let rows: Vec<_> = hits(listing)
            .into_iter()
            .map(|hit| (hit.chain, hit.rule, hit.packets, hit.bytes))
            .collect();
        let row =
            |rule: &str, packets, bytes| ("nat_out".to_owned(), rule.to_owned(), packets, bytes);
        assert_eq!(
            rows,
            [
                row("questions", 8, 500),
                row("tcp dport 80 redirect to :15001", 1, 60),
                row("", 0, 0)
            ]
        );
    }
}
