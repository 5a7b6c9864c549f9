//! Everything that can be wrong with a value, each with the line that it is told in.

use super::*;

/// Every row is a whole file but for what `around` adds, and all that is told of it.
fn each(rows: &[(&str, &str)], around: impl Fn(&str) -> String) {
    for (said, expected) in rows {
        let told = told(&around(said));
        let told: Vec<_> =
            told.lines().map(|line| line.trim_start_matches("services.yaml")).collect();
        assert_eq!(told, expected.lines().map(str::trim).collect::<Vec<_>>(), "{said}");
    }
}

/// A service that is good but for what is added, on line 4; what is said replaces what is there.
fn service(said: &str) -> String {
    let key = |pair: &str| pair.split(':').next().unwrap_or_default().trim().to_owned();
    let good = ["host: a.example", "port: 80", "identity: ns/a/sa/a"];
    let kept = good.iter().filter(|pair| said.lines().all(|line| key(line) != key(pair)));
    let mut text = "gateways: gw\nservices:\n- retries: 1\n".to_owned();
    for line in said.lines().chain(kept.copied()) {
        text += &format!("  {line}\n");
    }
    text
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = "\
trust_domain: Mesh Example
addresses: 127.0.0.0/8
locality: a//b
gateways:
- {address: 'gw one', priority: 200, weight: 3}
services:
- host: reviews_.prod..local
  port: 0
  protocol: HTTP
  timeout: 15
- {port: 80, ports: [81], identity: prod/reviews}
- reviews
inbound:
- {port: 8443}
forwarder: {allow: [10.0.0.0/40]}
gateway: gw
";

    let expected = "\
services.yaml:1: trust_domain: found \"Mesh Example\": expected the name of a mesh such as cluster.local
services.yaml:2: addresses: found 127.0.0.0/8: expected a range such as 127.240.0.0/16, of /8 to /30 (IPv6: /48 to /126), that holds none of 127.0.0.1, 127.0.0.53 and 0.0.0.0
services.yaml:3: locality: found a//b: expected region, region/zone or region/zone/subzone
services.yaml:5: gateways[0].address: found \"gw one\": expected a host or an address, with :PORT or without
services.yaml:5: gateways[0].priority: found 200: expected a number from 0 (first) to 127
services.yaml:5: gateways[0].weight: found a key that is not known: expected one of address, name, locality, priority
services.yaml:7: services[0].host: found reviews_.prod..local: expected a name such as reviews.prod.svc.cluster.local
services.yaml:7: services[0].identity: expected ns/NAMESPACE/sa/ACCOUNT, or a whole SPIFFE id (a * at the end stands for the rest)
services.yaml:8: services[0].port: found 0: expected a port from 1 to 65535
services.yaml:9: services[0].protocol: found HTTP: expected http, http2, grpc or tcp
services.yaml:10: services[0].timeout: found 15: expected a time such as 500ms, 15s or 1m30s, at most 24h, or 0 for as long as it takes
services.yaml:11: services[1].host: expected a name such as reviews.prod.svc.cluster.local
services.yaml:11: services[1].ports: found both port and ports: expected one of them
services.yaml:11: services[1].identity: found prod/reviews: expected ns/NAMESPACE/sa/ACCOUNT, or a whole SPIFFE id (a * at the end stands for the rest)
services.yaml:12: services[2]: found reviews: expected a mapping of keys to values
services.yaml:14: inbound[0].to: expected the port of the program, or its address with a port: 8080 or 127.0.0.1:8080
services.yaml:15: forwarder.address: expected the address of this machine that others call
services.yaml:15: forwarder.allow[0]: found 10.0.0.0/40: expected the ranges of those who may call, such as [10.0.0.0/8]
services.yaml:16: gateway: found a key that is not known: expected one of trust_domain, addresses, locality, access_log, forwarder, gateways, services, inbound";
    assert_eq!(told(text), expected);
}

#[test]
fn an_empty_file_is_no_order_to_forget_everything() {
    let nothing = "services.yaml: the file: found nothing: expected `services`, `inbound`, or both";
    for text in ["", "\n\n", "# all of it is commented out\n", "~", "gateways: gw\n"] {
        assert_eq!(told(text), nothing, "{text:?}");
    }
    assert!(services("services:\n").is_ok(), "a list that was begun is an empty one");
}

#[test]
fn a_file_is_a_mapping() {
    let rows = [
        ("[]", ":1: the file: found an empty list: expected a mapping of keys to values"),
        ("word", ":1: the file: found word: expected a mapping of keys to values"),
    ];
    each(&rows, ToString::to_string);
}

#[test]
fn what_is_said_once_has_its_form() {
    const DOMAIN: &str = "expected the name of a mesh such as cluster.local";
    const LOG: &str = "expected an absolute path, or journal";
    let range = format!("expected {}", words::A_RANGE);
    let locality = format!("expected {}", words::A_LOCALITY);
    let rows: Vec<(&str, String)> = vec![
        ("trust_domain: ''", format!(":2: trust_domain: found \"\": {DOMAIN}")),
        ("trust_domain:", format!(":2: trust_domain: found nothing: {DOMAIN}")),
        ("trust_domain: [a]", format!(":2: trust_domain: found a list: {DOMAIN}")),
        ("trust_domain: {a: b}", format!(":2: trust_domain: found a mapping: {DOMAIN}")),
        ("trust_domain: a/b", format!(":2: trust_domain: found a/b: {DOMAIN}")),
        ("addresses: 127.240.0.0", format!(":2: addresses: found 127.240.0.0: {range}")),
        ("addresses: 127.240.0.0/31", format!(":2: addresses: found 127.240.0.0/31: {range}")),
        ("addresses: 127.240.1.0/16", format!(":2: addresses: found 127.240.1.0/16: {range}")),
        ("addresses: 0.0.0.0/8", format!(":2: addresses: found 0.0.0.0/8: {range}")),
        ("addresses: 224.0.0.0/8", format!(":2: addresses: found 224.0.0.0/8: {range}")),
        ("addresses: 127.0.0.0/16", format!(":2: addresses: found 127.0.0.0/16: {range}")),
        ("addresses: fd00::/16", format!(":2: addresses: found fd00::/16: {range}")),
        ("locality: a/b/c/d", format!(":2: locality: found a/b/c/d: {locality}")),
        ("locality: /a", format!(":2: locality: found /a: {locality}")),
        ("access_log: log.txt", format!(":2: access_log: found log.txt: {LOG}")),
    ];
    let rows: Vec<_> = rows.iter().map(|(said, told)| (*said, told.as_str())).collect();
    each(&rows, |said| format!("services: []\n{said}\n"));
}

#[test]
fn gateways_have_their_form() {
    const ADDRESS: &str = "expected a host or an address, with :PORT or without";
    let rows: Vec<(&str, String)> = vec![
        ("{address: a}", ":2: gateways: found a mapping: expected a list of gateways, or the address of one".into()),
        ("gw:0", format!(":2: gateways: found gw:0: {ADDRESS}")),
        ("gw:65536", format!(":2: gateways: found gw:65536: {ADDRESS}")),
        ("gw:+1", format!(":2: gateways: found gw:+1: {ADDRESS}")),
        ("'gw:'", format!(":2: gateways: found gw:: {ADDRESS}")),
        ("https://gw", format!(":2: gateways: found https://gw: {ADDRESS}")),
        ("gw/path", format!(":2: gateways: found gw/path: {ADDRESS}")),
        ("['fd00::1:99999']", format!(":2: gateways[0]: found fd00::1:99999: {ADDRESS}")),
        ("['[10.0.0.1]:15443']", format!(":2: gateways[0]: found [10.0.0.1]:15443: {ADDRESS}")),
        ("['[gw]:15443']", format!(":2: gateways[0]: found [gw]:15443: {ADDRESS}")),
        ("0.0.0.0", format!(":2: gateways: found 0.0.0.0: {ADDRESS}")),
        ("[224.0.0.1]", format!(":2: gateways[0]: found 224.0.0.1: {ADDRESS}")),
        ("[{}]", format!(":2: gateways[0].address: {ADDRESS}")),
        ("[{address: }]", format!(":2: gateways[0].address: found nothing: {ADDRESS}")),
        ("[{address: a, name: b c}]", ":2: gateways[0].name: found \"b c\": expected a name of letters, digits, - _ and .".into()),
        ("[{address: a, priority: -1}]", ":2: gateways[0].priority: found -1: expected a number from 0 (first) to 127".into()),
        ("[a, {address: b, name: a}]", ":2: gateways[1]: found another gateway with the name a: expected a name of its own for each".into()),
        ("[a, a]", ":2: gateways[1]: found another gateway with the name a: expected a name of its own for each".into()),
        ("[[a]]", ":2: gateways[0]: found a list: expected a mapping of keys to values".into()),
    ];
    let rows: Vec<_> = rows.iter().map(|(said, told)| (*said, told.as_str())).collect();
    each(&rows, |said| format!("services: []\ngateways: {said}\n"));
}

#[test]
fn names_ports_and_ids_of_services_have_their_form() {
    let host = format!("expected {}", words::A_HOST);
    let id = format!("expected {}", words::AN_IDENTITY);
    let port = "expected a port from 1 to 65535";
    let long = format!("host: {}.example", "a".repeat(64));
    let rows: Vec<(&str, String)> = vec![
        ("host: ''", format!(":4: services[0].host: found \"\": {host}")),
        ("host: '*.example'", format!(":4: services[0].host: found *.example: {host}")),
        ("host: 10.0.0.1", format!(":4: services[0].host: found 10.0.0.1: {host}")),
        ("host: '[::1]'", format!(":4: services[0].host: found [::1]: {host}")),
        ("host: a..b", format!(":4: services[0].host: found a..b: {host}")),
        ("host: -a.b", format!(":4: services[0].host: found -a.b: {host}")),
        ("host: a.b:80", format!(":4: services[0].host: found a.b:80: {host}")),
        ("host: münchen.example", format!(":4: services[0].host: found \"münchen.example\": {host}")),
        ("host: localhost", format!(":4: services[0].host: found localhost: {host}")),
        (&long, format!(":4: services[0].host: found {}: {host}", long.trim_start_matches("host: "))),
        ("port: 70000", format!(":4: services[0].port: found 70000: {port}")),
        ("port: http", format!(":4: services[0].port: found http: {port}")),
        ("port: 80.0", format!(":4: services[0].port: found 80.0: {port}")),
        ("port: +80", format!(":4: services[0].port: found +80: {port}")),
        ("port: [80]", format!(":4: services[0].port: found a list: {port}")),
        ("local_port: 0", format!(":4: services[0].local_port: found 0: {port}")),
        ("protocol: h2", ":4: services[0].protocol: found h2: expected http, http2, grpc or tcp".into()),
        ("identity: []", format!(":4: services[0].identity: found an empty list: {id}")),
        ("identity:", format!(":4: services[0].identity: found nothing: {id}")),
        ("identity: '*'", format!(":4: services[0].identity: found *: {id}")),
        ("identity: reviews", format!(":4: services[0].identity: found reviews: {id}")),
        ("identity: ns/*/sa/a", format!(":4: services[0].identity: found ns/*/sa/a: {id}")),
        ("identity: ns/a/sa/..", format!(":4: services[0].identity: found ns/a/sa/..: {id}")),
        ("identity: ns/a/sa/", format!(":4: services[0].identity: found ns/a/sa/: {id}")),
        ("identity: ns/a/sa/b?x", format!(":4: services[0].identity: found ns/a/sa/b?x: {id}")),
        ("identity: spiffe://*", format!(":4: services[0].identity: found spiffe://*: {id}")),
        ("identity: spiffe:///ns/a/sa/b", format!(":4: services[0].identity: found spiffe:///ns/a/sa/b: {id}")),
        ("identity: [ns/a/sa/a, b]", format!(":4: services[0].identity[1]: found b: {id}")),
        ("subset: a_b", ":4: services[0].subset: found a_b: expected a subset: letters, digits, - and .".into()),
        ("aliases: [a, 'b c']", ":4: services[0].aliases[1]: found \"b c\": expected a name".into()),
        ("aliases: {a: b}", ":4: services[0].aliases: found a mapping: expected a name, or a list of that".into()),
        ("gateways: [x]", ":4: services[0].gateways: found x: expected one of gw".into()),
        ("name: a", ":4: services[0].name: found a key that is not known: expected one of host, port, ports, identity, subset, aliases, gateways, protocol, local_port, timeout, connect_timeout, retries, outliers, transcode, filters".into()),
    ];
    let rows: Vec<_> = rows.iter().map(|(said, told)| (*said, told.as_str())).collect();
    each(&rows, service);
}

#[test]
fn ports_have_their_form() {
    let said = |said: &str| {
        format!("gateways: gw\nservices:\n- host: a.example\n  identity: ns/a/sa/a\n  {said}\n")
    };
    let rows = [
        ("retries: 1", ":3: services[0].port: expected a port from 1 to 65535"),
        ("ports: []", ":5: services[0].ports: found an empty list: expected a list of 1 to 64 ports"),
        ("ports: 80", ":5: services[0].ports: found 80: expected a list of 1 to 64 ports"),
        ("ports: [80, x]", ":5: services[0].ports[1]: found x: expected a port from 1 to 65535"),
        ("ports: [{local_port: 80}]", ":5: services[0].ports[0].port: expected a port from 1 to 65535"),
        (
            "ports: [{port: 80, host: b}]",
            ":5: services[0].ports[0].host: found a key that is not known: expected one of port, protocol, local_port, timeout, connect_timeout, retries, outliers, transcode, filters",
        ),
        ("ports: [80, 80]", ":5: services[0].port: found a.example:80 again, after services.yaml:5: expected every port of a subset of a host once"),
        (
            "ports: [80, {port: 81, local_port: 80}]",
            ":5: services[0].local_port: found a.example on local port 80, where services.yaml:5 is: expected a local_port of its own for each",
        ),
        (
            "local_port: 8080\n  ports: [80, 81]",
            ":3: services[0].local_port: found 8080 for 2 ports: expected a local_port in each of `ports`
             :6: services[0].local_port: found a.example on local port 8080, where services.yaml:6 is: expected a local_port of its own for each",
        ),
    ];
    each(&rows, said);
}

#[test]
fn times_and_counts_have_their_form() {
    let time = format!("expected {}, or 0 for as long as it takes", words::A_DURATION);
    let some = format!("expected {}, and longer than nothing", words::A_DURATION);
    let rows: Vec<(&str, String)> = vec![
        ("timeout: 15", format!(":4: services[0].timeout: found 15: {time}")),
        ("timeout: -1s", format!(":4: services[0].timeout: found -1s: {time}")),
        ("timeout: 1.2.3s", format!(":4: services[0].timeout: found 1.2.3s: {time}")),
        ("timeout: 25h", format!(":4: services[0].timeout: found 25h: {time}")),
        ("timeout: 0.1ms", format!(":4: services[0].timeout: found 0.1ms: {time}")),
        ("timeout: 5 s", format!(":4: services[0].timeout: found \"5 s\": {time}")),
        ("connect_timeout: 0", format!(":4: services[0].connect_timeout: found 0: {some}")),
        ("connect_timeout: soon", format!(":4: services[0].connect_timeout: found soon: {some}")),
        ("outliers: on", ":4: services[0].outliers: found on: expected off, or {errors: 5, ejection: 30s}".into()),
        ("outliers:", ":4: services[0].outliers: found nothing: expected off, or {errors: 5, ejection: 30s}".into()),
        ("outliers: {errors: 0}", ":4: services[0].outliers.errors: found 0: expected a number from 1 to 1000".into()),
        ("outliers: {ejection: 0}", format!(":4: services[0].outliers.ejection: found 0: expected {}", words::A_DURATION)),
        ("outliers: {max: 1}", ":4: services[0].outliers.max: found a key that is not known: expected one of errors, ejection".into()),
    ];
    let rows: Vec<_> = rows.iter().map(|(said, told)| (*said, told.as_str())).collect();
    each(&rows, service);
    let retries =
        |said: &str| service("timeout: 1s").replace("retries: 1", &format!("retries: {said}"));
    let rows = [
        ("-1", ":3: services[0].retries: found -1: expected a number from 0 to 100"),
        ("101", ":3: services[0].retries: found 101: expected a number from 0 to 100"),
        ("many", ":3: services[0].retries: found many: expected a number from 0 to 100"),
    ];
    each(&rows, retries);
}

#[test]
fn what_is_about_requests_is_not_said_of_plain_connections() {
    const HTTP: &str =
        "found it with another protocol: expected it with protocol http, http2 or grpc alone";
    let tcp = format!(
        ":3: services[0].retries: {HTTP}\n:5: services[0].timeout: {HTTP}\n:6: services[0].filters: {HTTP}"
    );
    each(&[("protocol: tcp\ntimeout: 1s\nfilters: []", tcp.as_str())], service);
    let one = format!(":4: services[0].timeout: {HTTP}");
    let ports = "ports: [80, {port: 81, protocol: tcp, timeout: 1s}]";
    each(&[(ports, one.as_str())], |said| service(said).replace("  port: 80\n", ""));
    let mixed = service("ports: [80, {port: 81, protocol: tcp}]\ntimeout: 1s");
    assert!(services(&mixed.replace("  port: 80\n", "")).is_ok(), "it is said of the other port");
}

#[test]
fn filters_have_their_form() {
    let config = format!("expected {}", filters::A_CONFIG);
    let rows: Vec<(&str, String)> = vec![
        ("filters: a", ":4: services[0].filters: found a: expected a list of at most 16 filters".into()),
        ("filters: [a]", ":4: services[0].filters[0]: found a: expected a mapping of keys to values".into()),
        ("filters: [{name: a}]", format!(":4: services[0].filters[0].typed_config: {config}")),
        ("filters: [{name: a, typed_config: {a: b}}]", format!(":4: services[0].filters[0].typed_config: found a mapping: {config}")),
        ("filters: [{name: a, typed_config: {'@type': lua}}]", format!(":4: services[0].filters[0].typed_config: found a mapping: {config}")),
        ("filters: [{name: a, typed_config: x/a.b}]", format!(":4: services[0].filters[0].typed_config: found x/a.b: {config}")),
        ("filters: [{typed_config: {'@type': x/a.b}}]", ":4: services[0].filters[0].name: expected the name of a filter such as envoy.filters.http.lua".into()),
        (
            "filters: [{name: envoy.filters.http.router, typed_config: {'@type': x/a.b}}]",
            ":4: services[0].filters[0].name: found envoy.filters.http.router: expected any filter but the router, which is there".into(),
        ),
    ];
    let rows: Vec<_> = rows.iter().map(|(said, told)| (*said, told.as_str())).collect();
    each(&rows, service);
}

#[test]
fn inbound_ports_have_their_form() {
    let to = "expected the port of the program, or its address with a port: 8080 or 127.0.0.1:8080";
    let callers = format!("expected mesh, anybody, or who may call: {}", words::AN_IDENTITY);
    let rows: Vec<(&str, String)> = vec![
        ("{to: 1}", ":1: inbound[0].port: expected a port from 1 to 65535".into()),
        ("{port: 1}", format!(":1: inbound[0].to: {to}")),
        ("{port: 1, to: host:80}", format!(":1: inbound[0].to: found host:80: {to}")),
        ("{port: 1, to: 0.0.0.0:80}", format!(":1: inbound[0].to: found 0.0.0.0:80: {to}")),
        ("{port: 1, to: 127.0.0.1:0}", format!(":1: inbound[0].to: found 127.0.0.1:0: {to}")),
        ("{port: 1, to: 2, address: eth0}", ":1: inbound[0].address: found eth0: expected an IP address of this machine".into()),
        ("{port: 1, to: 2, address: 224.0.0.1}", ":1: inbound[0].address: found 224.0.0.1: expected an IP address of this machine".into()),
        ("{port: 1, to: 1}", ":1: inbound[0].to: found the port that it listens on itself: expected another one".into()),
        ("{port: 1, to: 2, protocol: https}", ":1: inbound[0].protocol: found https: expected http, http2, grpc or tcp".into()),
        ("{port: 1, to: 2, callers: []}", format!(":1: inbound[0].callers: found an empty list: {callers}")),
        ("{port: 1, to: 2, callers: everybody}", format!(":1: inbound[0].callers: found everybody: {callers}")),
        ("{port: 1, to: 2, callers: [mesh]}", format!(":1: inbound[0].callers[0]: found mesh: {callers}")),
        ("{port: 1, to: 2, from: 3}", ":1: inbound[0].from: found a key that is not known: expected one of port, address, to, protocol, callers".into()),
        ("{port: 1, to: 2}, {port: 1, to: 3}", ":1: inbound.port: found port 1 of 0.0.0.0, which services.yaml:1 has: expected a port of its own for each".into()),
    ];
    let rows: Vec<_> = rows.iter().map(|(said, told)| (*said, told.as_str())).collect();
    each(&rows, |said| format!("inbound: [{said}]\n"));
}

#[test]
fn a_forwarder_has_its_form() {
    let allow = "expected the ranges of those who may call, such as [10.0.0.0/8]";
    let address = "expected the address of this machine that others call";
    let tls = "expected own, off, or {chain: FILE, key: FILE}";
    let rows: Vec<(&str, String)> = vec![
        ("on", ":2: forwarder: found on: expected a mapping of keys to values".into()),
        ("{allow: 10.0.0.0/8}", format!(":2: forwarder.address: {address}")),
        ("{address: 10.0.0.5}", format!(":2: forwarder.allow: {allow}")),
        (
            "{address: 0.0.0.0, allow: 10.0.0.0/8}",
            format!(":2: forwarder.address: found 0.0.0.0: {address}"),
        ),
        (
            "{address: eth0, allow: 10.0.0.0/8}",
            format!(":2: forwarder.address: found eth0: {address}"),
        ),
        (
            "{address: 10.0.0.5, allow: []}",
            format!(":2: forwarder.allow: found an empty list: {allow}"),
        ),
        ("{address: 10.0.0.5, allow: all}", format!(":2: forwarder.allow: found all: {allow}")),
        (
            "{address: 10.0.0.5, allow: 10.0.0.0/8, tls: on}",
            format!(":2: forwarder.tls: found on: {tls}"),
        ),
        (
            "{address: 10.0.0.5, allow: 10.0.0.0/8, tls: }",
            format!(":2: forwarder.tls: found nothing: {tls}"),
        ),
        (
            "{address: 10.0.0.5, allow: 10.0.0.0/8, tls: {chain: a}}",
            ":2: forwarder.tls.key: expected the path of its key in PEM".into(),
        ),
        (
            "{address: 10.0.0.5, allow: 10.0.0.0/8, dns: on}",
            ":2: forwarder.dns: found a key that is not known: expected one of address, allow, tls"
                .into(),
        ),
    ];
    let rows: Vec<_> = rows.iter().map(|(said, told)| (*said, told.as_str())).collect();
    each(&rows, |said| format!("services: []\nforwarder: {said}\n"));
}
