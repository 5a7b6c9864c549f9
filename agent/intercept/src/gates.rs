//! The gates of the loaded table: what is in their sets, as nft is told it and as it tells it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Gate, TABLE};

/// One value for each gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the gates")]
pub struct Gates<T> {
    pub outbound: T,
    pub inbound: T,
    pub dns: T,
}

/// How a gate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Open {
    /// It lets nothing through.
    #[default]
    Shut,
    /// It is open until somebody shuts it.
    Lasting,
    /// The kernel shuts it after this time, whoever is alive then.
    For(Duration),
}

impl<T> Gates<T> {
    /// The value of one of them.
    pub fn of(&self, gate: Gate) -> &T {
        match gate {
            Gate::Outbound => &self.outbound,
            Gate::Inbound => &self.inbound,
            Gate::Dns => &self.dns,
        }
    }

    /// Something for each, made from each.
    pub fn map<U>(&self, mut make: impl FnMut(Gate, &T) -> U) -> Gates<U> {
        Gates {
            outbound: make(Gate::Outbound, &self.outbound),
            inbound: make(Gate::Inbound, &self.inbound),
            dns: make(Gate::Dns, &self.dns),
        }
    }
}

impl Open {
    /// Whether anything gets through now.
    pub fn is_open(self) -> bool {
        self != Self::Shut
    }
}

/// The commands that put gates as they are to be; each is emptied first, if anything can be in it.
pub(crate) fn commands(gates: &Gates<Open>, fresh: bool, which: &[Gate]) -> String {
    let mut text = String::new();
    for &gate in which {
        let set = gate.set();
        if !fresh {
            text.push_str(&format!("flush set inet {TABLE} {set}\n"));
        }
        let time = match gates.of(gate) {
            Open::Shut => continue,
            Open::Lasting => String::new(),
            // Whole seconds, which every nft reads; a gate that is to close now stays for one.
            Open::For(time) => format!(" timeout {}s", time.as_secs().max(1)),
        };
        let elements: Vec<_> =
            gate.protocols().iter().map(|protocol| format!("{protocol}{time}")).collect();
        let elements = elements.join(", ");
        text.push_str(&format!("add element inet {TABLE} {set} {{ {elements} }}\n"));
    }
    text
}

/// How the gates are, in what `nft list table` has printed.
pub fn listed(listing: &str) -> Gates<Open> {
    let empty = Gates { outbound: (), inbound: (), dns: () };
    empty.map(|gate, ()| {
        let Some(elements) = elements(listing, gate) else { return Open::Shut };
        // A gate is as open as the first protocol that it would not let through any more.
        let times = gate.protocols().iter().map(|protocol| open(elements, protocol));
        times
            .min_by_key(|time| match time {
                Open::Shut => Duration::ZERO,
                Open::For(time) => *time,
                Open::Lasting => Duration::MAX,
            })
            .unwrap_or_default()
    })
}

/// Whether what is listed has this gate at all.
pub(crate) fn has(listing: &str, gate: Gate) -> bool {
    listing.contains(&format!("\tset {} {{", gate.set()))
}

/// What is between the braces of the set of a gate.
fn elements(listing: &str, gate: Gate) -> Option<&str> {
    let (_, set) = listing.split_once(&format!("\tset {} {{", gate.set()))?;
    let (set, _) = set.split_once("\n\t}")?;
    let (_, elements) = set.split_once("elements = {")?;
    elements.split_once('}').map(|(elements, _)| elements)
}

/// `tcp timeout 10s expires 9s4ms, udp`.
fn open(elements: &str, protocol: &str) -> Open {
    for element in elements.split(',') {
        let mut words = element.split_ascii_whitespace();
        if words.next() != Some(protocol) {
            continue;
        }
        let mut left = Open::Lasting;
        while let Some(word) = words.next() {
            // `timeout` comes first where both are said, and what is left counts.
            if matches!(word, "timeout" | "expires") {
                left = words.next().and_then(time).map_or(Open::Shut, Open::For);
            }
        }
        return left;
    }
    Open::Shut
}

/// `1m9s996ms`.
fn time(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let letters = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(letters)?;
        let number: u64 = number.parse().ok()?;
        total += match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.saturating_mul(60)),
            "h" => Duration::from_secs(number.saturating_mul(3600)),
            "d" => Duration::from_secs(number.saturating_mul(86_400)),
            _ => return None,
        };
        rest = behind;
    }
    Some(total)
}

/// The same listing without what changes by itself: the gates' elements, and what was counted.
pub(crate) fn still(listing: &str) -> String {
    let mut text = String::with_capacity(listing.len());
    let mut gate = false;
    let mut inside = false;
    for line in listing.lines() {
        if line.starts_with("\tset ") {
            gate = Gate::ALL.iter().any(|gate| line == format!("\tset {} {{", gate.set()));
        }
        if gate && line.trim_start().starts_with("elements = {") {
            inside = true;
        }
        if !inside {
            text.push_str(&uncounted(line));
            text.push('\n');
        }
        if inside && line.contains('}') {
            inside = false;
        }
    }
    text
}

/// `counter packets 7 bytes 420` is `counter`.
fn uncounted(line: &str) -> String {
    let mut words = line.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        kept.push(word);
        if word.trim_start() == "counter" && words.peek() == Some(&"packets") {
            // packets, how many, bytes, how many.
            words.by_ref().take(4).for_each(drop);
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table inet hawser {
\tset outbound {
\t\ttype inet_proto
\t\tflags timeout
\t\telements = { tcp }
\t}

\tset inbound {
\t\ttype inet_proto
\t\tflags timeout
\t}

\tset dns {
\t\ttype inet_proto
\t\tflags timeout
\t\telements = { tcp timeout 10s expires 9s996ms, udp timeout 1m expires
\t\t\t     4s }
\t}

\tset users {
\t\ttype uid
\t\telements = { 998 }
\t}

\tchain out {
\t\tmeta l4proto @outbound counter packets 7 bytes 420 redirect to :15001 comment \"counter packets 1\"
\t}
}
";

    #[test]
    fn gates_are_read_as_nft_prints_them() {
        let gates = listed(LISTING);
        assert_eq!(gates.outbound, Open::Lasting);
        assert_eq!(gates.inbound, Open::Shut);
        assert_eq!(gates.dns, Open::For(Duration::from_secs(4)), "as long as both are open");
        assert_eq!(listed(""), Gates::default());
    }

    #[test]
    fn gates_are_emptied_before_they_are_filled() {
        let gates = Gates {
            outbound: Open::Lasting,
            inbound: Open::Shut,
            dns: Open::For(Duration::from_millis(9_900)),
        };
        assert_eq!(
            commands(&gates, false, &Gate::ALL),
            "flush set inet hawser outbound\nadd element inet hawser outbound { tcp }\n\
             flush set inet hawser inbound\n\
             flush set inet hawser dns\n\
             add element inet hawser dns { tcp timeout 9s, udp timeout 9s }\n"
        );
        assert_eq!(
            commands(&gates, true, &[Gate::Outbound, Gate::Inbound]),
            "add element inet hawser outbound { tcp }\n"
        );
    }

    #[test]
    fn times_are_read() {
        let cases = [
            ("10s", Some(10_000)),
            ("9s996ms", Some(9_996)),
            ("1m", Some(60_000)),
            ("1d2h3m4s5ms", Some(93_784_005)),
            ("10", None),
            ("s", None),
            ("10y", None),
        ];
        for (text, expected) in cases {
            assert_eq!(time(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn what_counts_and_what_expires_is_no_change() {
        let later = LISTING
            .replace("packets 7 bytes 420", "packets 99 bytes 1")
            .replace("{ tcp }", "{ tcp timeout 1m expires 3s }")
            .replace("expires 9s996ms", "expires 1s");
        assert_eq!(still(&later), still(LISTING));
        assert!(still(LISTING).contains("counter redirect to :15001 comment \"counter packets 1"));

        for other in [
            LISTING.replace("998", "997"),
            LISTING.replace(":15001", ":15002"),
            LISTING.replace("\tchain out", "\tchain other"),
        ] {
            assert_ne!(still(&other), still(LISTING));
        }
    }
}
