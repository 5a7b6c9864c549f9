//! What can be said of DNS, and what is said about mistakes.

use super::*;
use crate::config::{
    Config,
    paths::Paths,
    source::{self, Environment, Flag},
};

/// What comes of these settings, or what is said about them.
fn dns(settings: &[(&str, &str)]) -> Result<Dns, String> {
    let root = tempfile::tempdir().unwrap();
    let flag = |&(key, value): &(&str, &str)| Flag {
        name: "--set",
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let flags: Vec<_> = settings.iter().map(flag).collect();
    let paths = Paths::under(root.path());
    let sources = source::read(&paths, &Environment::default(), &flags);
    match Config::load(&paths, &sources) {
        Ok(config) => Ok(config.dns.unwrap()),
        Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn nothing_has_to_be_said() {
    let dns = dns(&[]).unwrap();
    assert_eq!(dns.listen, ["127.0.0.1:15053".parse().unwrap()]);
    assert_eq!((dns.mode, dns.style, dns.workers), (Mode::Proxy, Style::Plain, 0));
    assert_eq!((dns.cache, dns.stale), (4 << 20, Duration::from_secs(3600)));
    assert_eq!((dns.parallel, dns.timeout), (false, Duration::from_secs(5)));
    let may = |ip: &str| dns.allow.iter().any(|network| network.contains(ip.parse().unwrap()));
    assert!(["10.1.2.3", "192.168.0.9", "172.31.0.1", "fd00::1", "fe80::1"].into_iter().all(may));
    assert!(!["8.8.8.8", "172.32.0.1", "2001:db8::1"].into_iter().any(may));
}

#[test]
fn everything_can_be_said() {
    let dns = dns(&[
        ("dns.mode", "resolved"),
        ("dns.compat", "istio"),
        ("dns.domains", "corp.example, .lab"),
        ("dns.exclude", "*.Old.Example."),
        ("dns.allow", ""),
        ("dns.cache", "0"),
        ("dns.stale", "0"),
        ("dns.parallel", "true"),
        ("dns.workers", "2"),
        ("dns.upstreams", "10.0.0.2, tls://9.9.9.9#dns.quad9.net"),
    ])
    .unwrap();
    assert_eq!((dns.mode, dns.style, dns.workers), (Mode::Resolved, Style::Istio, 2));
    assert_eq!(
        (dns.domains, dns.exclude),
        (vec!["corp.example".into(), "lab".into()], vec!["old.example".to_owned()])
    );
    assert_eq!((dns.cache, dns.stale, dns.parallel), (0, Duration::ZERO, true));
    assert_eq!((dns.allow.len(), dns.upstreams.len()), (0, 2));
}

#[test]
fn what_is_wrong_says_what_to_write() {
    let table = [
        ("dns.upstreams", "dns.quad9.net", "expected ADDRESS, ADDRESS:PORT or tls://ADDRESS#NAME"),
        ("dns.upstreams", "127.0.0.1:15053", "would ask itself: expected the address of another"),
        ("dns.mode", "stub", "expected proxy or resolved"),
        ("dns.compat", "true", "expected off or istio"),
        ("dns.allow", "10.0.0.0/33", "expected networks such as 10.0.0.0/8"),
        ("dns.exclude", "a..b", "expected domains such as corp.example"),
        ("dns.domains", "corp.example", "expected dns.mode = \"resolved\" too"),
        ("dns.cache", "4MB", "expected a number of bytes such as"),
        ("dns.workers", "many", "expected a number of threads up to 64"),
        ("dns.stale", "1d", "expected a duration such as 5s"),
    ];
    for (key, value, expected) in table {
        let said = dns(&[(key, value)]).unwrap_err();
        assert!(said.contains(key) && said.contains(expected), "{said}");
    }
}

#[test]
fn a_resolver_is_an_address_with_or_without_port_and_tls() {
    let plain = |address: &str| (address.to_owned(), None);
    let tls = |address: &str, name: &str| (address.to_owned(), Some(name.to_owned()));
    let table = [
        ("10.0.0.2", plain("10.0.0.2:53")),
        ("10.0.0.2:5353", plain("10.0.0.2:5353")),
        ("localhost:5353", plain("127.0.0.1:5353")),
        ("fd00::1", plain("[fd00::1]:53")),
        ("[fd00::1]", plain("[fd00::1]:53")),
        ("[fd00::1]:5353", plain("[fd00::1]:5353")),
        ("fe80::1%7", plain("[fe80::1%7]:53")),
        ("fe80::1%lo", plain("[fe80::1%1]:53")),
        ("tls://9.9.9.9", tls("9.9.9.9:853", "9.9.9.9")),
        ("tls://9.9.9.9:8853#dns.quad9.net", tls("9.9.9.9:8853", "dns.quad9.net")),
        ("tls://[2620:fe::fe]#dns.quad9.net", tls("[2620:fe::fe]:853", "dns.quad9.net")),
    ];
    for (text, expected) in table {
        let read = upstream(text).map(|read| (read.address.to_string(), read.tls));
        assert_eq!(read, Some(expected), "{text}");
    }
    let bad = [
        "",
        "dns.quad9.net",
        "10.0.0.2:0",
        "10.0.0.2:x",
        "https://9.9.9.9",
        "tls://",
        "tls://9.9.9.9#",
        "tls://9.9.9.9#a b",
        "tls://dns.quad9.net",
        "fe80::1%nosuchlink",
    ];
    for bad in bad {
        assert_eq!(upstream(bad), None, "{bad}");
    }
}
