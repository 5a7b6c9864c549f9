//! Text to value, for every kind of value that a setting can have. Pure; no messages: what was
//! expected stands in the table of settings.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hawser_istiod::Endpoint;
use hawser_rt::Cidr;

/// Go's notion of a boolean, which is what Istio's files are written in.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A duration as Go writes it: `1h30m`, `1.5s`, `100ms`. Never negative, at most ten years.
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    let positive = !text.is_empty() && total <= TEN_YEARS;
    positive.then(|| Duration::try_from_secs_f64(total).ok()).flatten()
}

/// A duration that is longer than nothing.
pub fn some_time(text: &str) -> Option<Duration> {
    duration(text).filter(|time| !time.is_zero())
}

/// A port that something can be reached at.
pub fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// An address to listen at; `localhost` is the IPv4 loopback. Port 0 lets the system choose.
pub fn socket(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// Several of them, separated by commas; at least one.
pub fn sockets(text: &str) -> Option<Vec<SocketAddr>> {
    list(text, socket).filter(|sockets| !sockets.is_empty())
}

/// Addresses of istiod, separated by commas; at least one.
pub fn endpoints(text: &str) -> Option<Vec<Endpoint>> {
    list(text, |one| one.parse().ok()).filter(|endpoints| !endpoints.is_empty())
}

/// Networks, separated by commas.
pub fn networks(text: &str) -> Option<Vec<Cidr>> {
    list(text, |one| one.parse().ok())
}

/// Domains, separated by commas; in lower case, without the dot at the end.
pub fn domains(text: &str) -> Option<Vec<String>> {
    list(text, |one| {
        let plain = one.strip_prefix("*.").unwrap_or(one).trim_matches('.').to_ascii_lowercase();
        let label = |label: &str| !label.is_empty() && label.len() <= MAX_LABEL;
        name(&plain).filter(|name| name.split('.').all(label))
    })
}

/// An absolute path.
pub fn file(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| path.is_absolute())
}

/// A number of bytes: plain, or with KiB, MiB or GiB.
pub fn bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (number, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    let number: u64 = number.trim_end().parse().ok()?;
    number.checked_mul(1 << shift)
}

/// Words separated by commas; none of them empty.
pub fn words(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.take(MAX_LISTED).map(str::to_owned).collect()
}

/// A part of a whole, as 0.5.
pub fn part(text: &str) -> Option<f64> {
    text.parse().ok().filter(|part| (0.0..=1.0).contains(part))
}

/// The mode of a file, in octal; nobody else may write, and nothing runs.
pub fn mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| mode & !0o664 == 0 && mode & 0o400 != 0)
}

/// The mode of a key: nobody but its owner and its group may read it.
pub fn key_mode(text: &str) -> Option<u32> {
    mode(text).filter(|mode| mode & 0o007 == 0)
}

/// A host with or without its port, 80 if it says none.
pub fn host_and_port(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, text)) => (host, port(text)?),
        None => (text, HTTP_PORT),
    };
    name(host).map(|host| format!("{host}:{port}"))
}

/// A name that can stand in a node id: no `~`, no space, nothing unseen.
pub fn name(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let named = !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(fits);
    named.then(|| text.to_owned())
}

/// A path below an address: words that need no quoting there, with slashes between them.
pub fn place(text: &str) -> Option<String> {
    let plain = text.trim_matches('/');
    let word = |word: &str| !matches!(word, "." | "..") && name(word).is_some();
    (plain.len() <= MAX_NAME && plain.split('/').all(word)).then(|| plain.to_owned())
}

/// A user or group, by name or number, whether there is one or not.
pub fn account(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '@' | '$');
    let named = !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(fits);
    named.then(|| text.to_owned())
}

pub(super) fn list<T>(text: &str, item: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let items = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let items: Vec<&str> = items.take(MAX_LISTED + 1).collect();
    if items.len() > MAX_LISTED {
        return None;
    }
    items.into_iter().map(item).collect()
}

const HTTP_PORT: u16 = 80;
const MAX_LISTED: usize = 64;
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
const TEN_YEARS: f64 = 10.0 * 365.25 * 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        let table = [
            ("5s", Some(5_000)),
            ("100ms", Some(100)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("24h0m0s", Some(86_400_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("-5s", None),
            ("s", None),
            ("1.2.3s", None),
            ("5 s", None),
            ("5d", None),
            ("999999999h", None),
        ];
        for (text, millis) in table {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn bytes_are_plain_or_have_a_unit() {
        let table = [
            ("0", Some(0)),
            ("1048576", Some(1 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("8KiB", Some(8192)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("64MB", None),
            ("99999999999GiB", None),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn sockets_take_localhost_and_lists() {
        assert_eq!(socket("localhost:15053"), "127.0.0.1:15053".parse().ok());
        assert_eq!(sockets("127.0.0.1:1, [::1]:1").map(|s| s.len()), Some(2));
        assert_eq!(sockets(""), None);
        assert_eq!(socket("15053"), None);
        assert_eq!(sockets(&"1.1.1.1:1,".repeat(65)), None);
    }

    #[test]
    fn domains_are_plain_names_however_they_are_written() {
        let plain = |text: &str| domains(text).map(|domains| domains.join(" "));
        assert_eq!(
            plain("Corp.Example., *.svc.cluster.local,.lan").as_deref(),
            Some("corp.example svc.cluster.local lan")
        );
        assert_eq!(plain("").as_deref(), Some(""));
        for bad in ["a..b", "a b", "*", &format!("{}.x", "a".repeat(64))] {
            assert_eq!(domains(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_mode_lets_its_owner_read_and_nobody_else_write() {
        assert_eq!((mode("0600"), mode("640"), mode("0644")), (Some(384), Some(416), Some(420)));
        assert_eq!((key_mode("0640"), key_mode("0644")), (Some(416), None));
        for bad in ["", "0700", "0666", "0044", "rw", "99", "-1"] {
            assert_eq!(mode(bad), None, "{bad}");
        }
    }

    #[test]
    fn parts_and_hosts_have_their_limits() {
        assert_eq!((part("0.5"), part("0"), part("1")), (Some(0.5), Some(0.0), Some(1.0)));
        assert!(["", "1.1", "-0.1", "NaN", "half"].iter().all(|bad| part(bad).is_none()));
        assert_eq!(host_and_port("169.254.169.254"), Some("169.254.169.254:80".to_owned()));
        assert_eq!(host_and_port("metadata:8080"), Some("metadata:8080".to_owned()));
        assert!(["", ":80", "a b", "a:0", "a:b"].iter().all(|bad| host_and_port(bad).is_none()));
    }

    #[test]
    fn a_name_holds_nothing_that_splits_a_node_id() {
        assert!(name("vm-1.example").is_some());
        for bad in ["", "a~b", "a b", "a\n", "ü", &"a".repeat(254)] {
            assert!(name(bad).is_none(), "{bad}");
        }
    }
}
