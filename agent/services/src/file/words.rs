//! What single words mean: names, ids, durations, sizes, ranges. Pure; what was expected is said by
//! those who ask.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use hawser_rt::Cidr;

use crate::model::{Protocol, Range};

/// A DNS name in lower case, without the dot at the end; no address, and nothing with a `*`.
pub(crate) fn host(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let named = name.len() <= 253
        && name.split('.').all(label)
        && !name.rsplit('.').next().is_none_or(number)
        && name != "localhost"
        && !name.ends_with(".localhost");
    named.then_some(name)
}

pub(super) const A_HOST: &str = "a name such as reviews.prod.svc.cluster.local";

/// The host and the port of a gateway; the port is left out, or follows after a colon.
pub(crate) fn gateway(text: &str) -> Option<(String, Option<std::num::NonZeroU16>)> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return callable(ip).then(|| (ip.to_string(), None));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(super::at::port(port)?)),
        None => (text, None),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let ip: Option<IpAddr> = bare.unwrap_or(name).parse().ok();
    let name = match (ip, bare) {
        (Some(ip @ IpAddr::V6(_)), Some(_)) | (Some(ip @ IpAddr::V4(_)), None) => {
            callable(ip).then(|| ip.to_string())?
        }
        (None, None) => name.to_ascii_lowercase(),
        _ => return None,
    };
    if ip.is_none() && name != "localhost" {
        return Some((host(&name)?, port));
    }
    Some((name, port))
}

pub(crate) const A_GATEWAY: &str = "a host or an address, with :PORT or without";

/// Whether something can be called at an address.
pub(super) fn callable(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// What something is called by in this file.
pub(super) fn label(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let named = (1..=253).contains(&text.len()) && text.bytes().all(fits);
    named.then(|| text.to_owned())
}

/// A subset, which is part of a name that TLS carries.
pub(super) fn subset(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let named = (1..=63).contains(&text.len()) && text.bytes().all(fits);
    named.then(|| text.to_owned())
}

/// `region/zone/subzone`, as far as it is known.
pub(super) fn locality(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let part = |part: &str| !part.is_empty() && part.len() <= 63 && part.chars().all(fits);
    let parts = text.split('/').count() <= 3 && text.split('/').all(part);
    parts.then(|| text.to_owned())
}

pub(super) const A_LOCALITY: &str = "region, region/zone or region/zone/subzone";

/// The name of a mesh.
pub(crate) fn trust_domain(text: &str) -> Option<String> {
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    let named = (1..=255).contains(&text.len()) && text.bytes().all(fits);
    named.then(|| text.to_owned())
}

/// A SPIFFE id, written out or as `ns/NAMESPACE/sa/ACCOUNT`; at the end a `*` stands for the rest.
pub(crate) fn identity(text: &str, trust_domain: &str) -> Option<String> {
    let (domain, path) = match text.strip_prefix("spiffe://") {
        Some(whole) => whole.split_once('/')?,
        None => (trust_domain, text),
    };
    let short = !text.starts_with("spiffe://");
    let parts: Vec<&str> = path.split('/').collect();
    let last = parts.len().checked_sub(1)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let segment = |(index, part): (usize, &&str)| {
        let plain = match part.strip_suffix('*') {
            Some(start) if index == last => start,
            _ => part,
        };
        let whole = plain.len() == part.len();
        (!plain.is_empty() || !whole) && plain.bytes().all(fits) && !matches!(*part, "." | "..")
    };
    let shaped = match parts.as_slice() {
        ["ns", _, "sa", _] | ["ns", "*"] => true,
        ["ns", _, "*"] => true,
        _ => !short,
    };
    let id = format!("spiffe://{domain}/{path}");
    let good = self::trust_domain(domain).is_some()
        && shaped
        && id.len() <= 2048
        && parts.iter().enumerate().all(segment);
    good.then_some(id)
}

pub(super) const AN_IDENTITY: &str =
    "ns/NAMESPACE/sa/ACCOUNT, or a whole SPIFFE id (a * at the end stands for the rest)";

pub(crate) fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "http" => Some(Protocol::Http),
        "http2" => Some(Protocol::Http2),
        "grpc" => Some(Protocol::Grpc),
        "tcp" => Some(Protocol::Tcp),
        _ => None,
    }
}

pub(super) const A_PROTOCOL: &str = "http, http2, grpc or tcp";

/// Times as Go writes them: `1h30m`, `1.5s`, `100ms`; a bare 0 is none at all. At most a day.
pub(super) fn duration(text: &str) -> Option<Duration> {
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
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    // What Envoy is told is told in whole milliseconds.
    let time = Duration::try_from_secs_f64((total * 1000.0).round() / 1000.0).ok()?;
    let fits = !text.is_empty() && time <= DAY && (!time.is_zero() || total == 0.0);
    fits.then_some(time)
}

pub(super) const A_DURATION: &str = "a time such as 500ms, 15s or 1m30s, at most 24h";

/// The same, longer than nothing.
pub(super) fn some_time(text: &str) -> Option<Duration> {
    duration(text).filter(|time| !time.is_zero())
}

/// A number of bytes: plain, or with KiB, MiB or GiB.
pub(super) fn bytes(text: &str) -> Option<u32> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (number, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    let number: u64 = whole(number.trim_end())?;
    u32::try_from(number.checked_mul(1 << shift)?).ok()
}

/// A number in digits alone.
pub(super) fn whole<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A range of addresses for names.
pub(super) fn range(text: &str) -> Option<Range> {
    let range: Cidr = text.parse().ok()?;
    let (least, most) = if range.address().is_ipv4() { (8, 30) } else { (48, 126) };
    let taken = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(127, 0, 0, 53)];
    let fits = (least..=most).contains(&range.bits())
        && range.masked() == range
        && callable(range.address())
        && !taken.iter().any(|ip| range.contains(IpAddr::V4(*ip)));
    fits.then_some(Range(range))
}

pub(super) const A_RANGE: &str = "a range such as 127.240.0.0/16, of /8 to /30 (IPv6: /48 to /126), that holds none of \
     127.0.0.1, 127.0.0.53 and 0.0.0.0";

const DAY: Duration = Duration::from_secs(86_400);
