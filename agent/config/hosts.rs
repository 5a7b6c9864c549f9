//! The bundle's `hosts`: addresses for istiod's name that no resolver knows.
//!
//! The agent looks here first, so nobody has to edit `/etc/hosts`.

use std::net::IpAddr;

/// A name and one of its addresses.
pub type Entry = (String, IpAddr);

/// A line that is none, from 1, and what is wrong with it.
pub type Wrong = (usize, String);

/// Reads lines of `address name...`.
pub fn parse(text: &str) -> Result<Vec<Entry>, Vec<Wrong>> {
    let mut hosts = Vec::new();
    let mut wrong = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default();
        let mut words = entry.split_whitespace();
        let Some(address) = words.next() else { continue };
        let Ok(address) = address.parse::<IpAddr>() else {
            wrong.push((n + 1, format!("{address:?} is no IP address; expected `address name`")));
            continue;
        };
        let before = hosts.len();
        hosts.extend(words.map(|name| (name.to_owned(), address)));
        if hosts.len() == before {
            wrong.push((n + 1, format!("no name after {address}; expected `address name`")));
        }
    }
    if wrong.is_empty() { Ok(hosts) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_line_gets_its_address() {
        let hosts = parse("# gateway\n10.0.0.1 istiod.istio-system.svc istiod\n\n::1 istiod\n");

        let names: Vec<_> = hosts.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["istiod.istio-system.svc", "istiod", "istiod"]);
    }

    #[test]
    fn a_line_without_address_or_name_is_told_with_its_number() {
        let wrong = parse("10.0.0.1 a\ngateway istiod\n10.0.0.2\n").unwrap_err();

        assert_eq!(wrong.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 3]);
    }
}
