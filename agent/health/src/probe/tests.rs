//! What can be said, and what is wrong with it.

use serde_json::{Value, json};

use super::*;

fn read(value: &Value) -> Probe {
    Probe::read(value).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn method(value: &Value) -> Method {
    read(value).methods.remove(0)
}

fn http(value: &Value) -> Http {
    let Method::Http(http) = method(&json!({"httpGet": value})) else { panic!("{value}") };
    http
}

fn problems(value: &Value) -> Vec<String> {
    Probe::read(value).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_not_said_is_as_in_istio() {
    for silent in [
        json!({"httpGet": {"port": 8080}}),
        json!({
            "httpGet": {"port": 8080, "path": "", "host": "", "scheme": "", "httpHeaders": []},
            "initialDelaySeconds": 0, "timeoutSeconds": 0, "periodSeconds": null,
            "successThreshold": 0, "failureThreshold": "0", "tcpSocket": null, "later": {},
        }),
    ] {
        let expected = Probe {
            methods: vec![Method::Http(Http {
                scheme: Scheme::Http,
                host: None,
                port: 8080,
                path: PathAndQuery::from_static("/"),
                headers: HeaderMap::new(),
            })],
            initial_delay: Duration::ZERO,
            timeout: Duration::from_secs(1),
            period: Duration::from_secs(10),
            thresholds: Thresholds { success: 1, failure: 1 },
        };
        assert_eq!(read(&silent), expected, "{silent}");
    }
}

#[test]
fn numbers_and_names_are_understood_in_every_form_of_proto3() {
    let camel = json!({
        "httpGet": {"port": 8443, "httpHeaders": [{"name": "a", "value": "b"}]},
        "initialDelaySeconds": 5, "timeoutSeconds": 2, "periodSeconds": 30,
        "successThreshold": 3, "failureThreshold": 4,
    });
    let snake = json!({
        "http_get": {"port": "8443", "http_headers": [{"name": "a", "value": "b"}]},
        "initial_delay_seconds": "5", "timeout_seconds": 2.0, "period_seconds": 3e1,
        "success_threshold": 3, "failure_threshold": "4e0",
    });

    let probe = read(&camel);

    assert_eq!(probe, read(&snake));
    assert_eq!(probe.initial_delay, Duration::from_secs(5));
    assert_eq!((probe.timeout, probe.period), (Duration::from_secs(2), Duration::from_secs(30)));
    assert_eq!(probe.thresholds, Thresholds { success: 3, failure: 4 });
}

#[test]
fn every_method_is_read() {
    let text = str::to_owned;
    let cases = [
        (
            json!({"tcpSocket": {"port": 5432, "host": "db.local"}}),
            Method::Tcp(Tcp { host: Some(text("db.local")), port: 5432 }),
        ),
        (
            json!({"tcpSocket": {"port": 1, "host": "[::1]"}}),
            Method::Tcp(Tcp { host: Some(text("::1")), port: 1 }),
        ),
        (
            json!({"exec": {"command": ["cat", "/tmp/healthy"]}}),
            Method::Exec(Exec { program: text("cat"), arguments: vec![text("/tmp/healthy")] }),
        ),
        (
            json!({"exec": {"command": ["/bin/true"]}}),
            Method::Exec(Exec { program: text("/bin/true"), arguments: Vec::new() }),
        ),
        (
            json!({"grpc": {"port": 9000}}),
            Method::Grpc(Grpc { port: 9000, service: String::new() }),
        ),
        (
            json!({"grpc": {"port": 65535, "service": "shop.Cart"}}),
            Method::Grpc(Grpc { port: 65535, service: text("shop.Cart") }),
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(method(&value), expected, "{value}");
    }
}

#[test]
fn a_page_is_asked_for_as_it_is_written() {
    let paths = [
        ("", "/"),
        ("/", "/"),
        ("ready", "/ready"),
        ("/ready?full=1&x=%20", "/ready?full=1&x=%20"),
        ("/a b/ä#part", "/a%20b/%C3%A4"),
        ("/{id}", "/%7Bid%7D"),
    ];
    for (path, expected) in paths {
        assert_eq!(http(&json!({"port": 1, "path": path})).path.as_str(), expected);
    }
    for (scheme, expected) in
        [("HTTP", Scheme::Http), ("https", Scheme::Https), ("HttpS", Scheme::Https)]
    {
        assert_eq!(http(&json!({"port": 1, "scheme": scheme})).scheme, expected);
    }
    let headers = [("Host", "shop.example"), ("x", "1"), ("X", "2"), ("empty", "")];
    let headers: Vec<Value> =
        headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let headers = http(&json!({"port": 1, "httpHeaders": headers})).headers;
    assert_eq!(headers["host"], "shop.example");
    assert_eq!(headers.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(headers["empty"], "");
}

#[test]
fn what_cannot_be_used_is_named() {
    let all = "expected one of httpGet, tcpSocket, exec, grpc";
    let nothing = format!("readinessProbe: does not say what to probe; {all}");
    let port =
        |method: &str| format!("readinessProbe.{method}.port: expected a port from 1 to 65535");
    let cases = [
        (json!([]), "readinessProbe: expected a mapping".to_owned()),
        (json!({}), nothing.clone()),
        (json!({"periodSeconds": 5, "unit": {"name": "x"}}), nothing.clone()),
        (json!({"exec": null}), nothing),
        (
            json!({"grpc": {"port": 1}, "httpGet": {"port": 1}}),
            "readinessProbe: says httpGet and grpc; expected one of them".to_owned(),
        ),
        (json!({"httpGet": {}}), port("httpGet")),
        (json!({"httpGet": {"port": 0}}), port("httpGet")),
        (json!({"tcpSocket": {"port": 65536}}), port("tcpSocket")),
        (json!({"grpc": {"port": "http"}}), port("grpc")),
        (json!({"grpc": {"port": 80.5}}), port("grpc")),
        (json!({"grpc": {"port": -1}}), port("grpc")),
        (json!({"tcpSocket": 8080}), "readinessProbe.tcpSocket: expected a mapping".to_owned()),
        (
            json!({"httpGet": {"port": 1, "scheme": "ftp"}}),
            r#"readinessProbe.httpGet.scheme: "ftp"; expected HTTP or HTTPS"#.to_owned(),
        ),
        (
            json!({"httpGet": {"port": 1, "path": 7}}),
            "readinessProbe.httpGet.path: expected a text".to_owned(),
        ),
        (
            json!({"httpGet": {"port": 1, "host": "a/b"}}),
            r#"readinessProbe.httpGet.host: "a/b" is no host"#.to_owned(),
        ),
        (
            json!({"httpGet": {"port": 1, "httpHeaders": {"a": "b"}}}),
            "readinessProbe.httpGet.httpHeaders: expected a list".to_owned(),
        ),
        (
            json!({"exec": {}}),
            "readinessProbe.exec.command: expected a program and its arguments".to_owned(),
        ),
        (
            json!({"exec": {"command": ["./check"]}}),
            r#"readinessProbe.exec.command[0]: "./check"; expected the name of a program, or its absolute path"#
                .to_owned(),
        ),
        (
            json!({"exec": {"command": ["cat", "a\0b"]}}),
            "readinessProbe.exec.command[1]: expected a text without a NUL character".to_owned(),
        ),
        (
            json!({"grpc": {"port": 1}, "periodSeconds": -5}),
            "readinessProbe.periodSeconds: -5; expected a number from 0 to 2147483647".to_owned(),
        ),
        (
            json!({"grpc": {"port": 1}, "timeoutSeconds": "1s"}),
            r#"readinessProbe.timeoutSeconds: "1s"; expected a number from 0 to 2147483647"#
                .to_owned(),
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(problems(&value), [expected], "{value}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_no_secret_is() {
    let value = json!({
        "httpGet": {
            "host": " ", "scheme": "x", "path": [],
            "httpHeaders": [{"name": "a b", "value": "s3cret\n"}, "c"],
        },
        "failureThreshold": true,
    });

    let problems = problems(&value).join("\n");

    for place in [
        ".failureThreshold:",
        ".httpGet.host:",
        ".httpGet.port:",
        ".httpGet.scheme:",
        ".httpGet.path:",
        ".httpGet.httpHeaders[0].name:",
        ".httpGet.httpHeaders[0].value:",
        ".httpGet.httpHeaders[1]:",
    ] {
        assert_eq!(problems.matches(place).count(), 1, "{place}\n{problems}");
    }
    assert!(!problems.contains("s3cret"), "{problems}");
}

#[test]
fn units_are_named_as_systemctl_takes_them() {
    let named = |names: &[&str]| Units::named(names.iter().copied());
    let units = named(&["nginx", "postgresql@15-main.service", "srv-data.mount", "a.b"]).unwrap();
    assert_eq!(
        units.names(),
        ["nginx.service", "postgresql@15-main.service", "srv-data.mount", "a.b.service"]
    );
    let long = "x".repeat(256);
    for bad in ["", ".service", "-H", "--root=/x", "a b", "a/b", "getty@.service", "ü", &long, "*"]
    {
        assert_eq!(named(&[bad]), None, "{bad}");
        assert_eq!(named(&["good", bad]), None, "{bad}");
    }
    assert_eq!(named(&[]), None);
}
