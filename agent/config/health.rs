//! What the operator of this machine wants to have probed, beside what the mesh does.

use hawser_health::{Exec, Grpc, Http, Method, Probe, Scheme, Tcp, Thresholds, Units};
use hawser_rt::Command;
use http::{HeaderMap, Uri, uri::PathAndQuery};

use super::{Reader, parse};

impl Reader<'_> {
    /// None where nothing is to be probed, and nothing told.
    pub(super) fn health(&mut self) -> Option<Option<Probe>> {
        let units = self.required("health.units", units);
        let pages = self.required("health.http", |text| parse::list(text, page));
        let ports = self.required("health.tcp", |text| parse::list(text, port));
        let servers = self.required("health.grpc", |text| parse::list(text, server));
        let program = self.optional("health.exec", program);
        let report = self.required("health.report", parse::boolean);
        let initial_delay = self.required("health.initial_delay", parse::duration);
        let period = self.required("health.period", parse::some_time);
        let timeout = self.required("health.timeout", parse::some_time);
        let failure = self.required("health.failures", times);
        let success = self.required("health.successes", times);

        let methods: Vec<Method> = units?
            .into_iter()
            .chain(pages?)
            .chain(ports?)
            .chain(servers?)
            .chain(program?)
            .collect();
        let wanted = report? || !methods.is_empty();
        let probe = Probe {
            methods,
            initial_delay: initial_delay?,
            timeout: timeout?,
            period: period?,
            thresholds: Thresholds { success: success?, failure: failure? },
        };
        Some(wanted.then_some(probe))
    }
}

/// All units are one question.
fn units(text: &str) -> Option<Option<Method>> {
    let names = parse::words(text);
    if names.is_empty() {
        return Some(None);
    }
    Units::named(names.iter().map(String::as_str)).map(|units| Some(Method::Units(units)))
}

fn page(text: &str) -> Option<Method> {
    let uri: Uri = text.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    // Who logs in by the address would have it in a reason.
    let host = uri.host().filter(|_| !text.contains('@'))?;
    let port = match (uri.port(), scheme) {
        (Some(port), _) => Some(port.as_u16()).filter(|port| *port != 0)?,
        (None, Scheme::Http) => 80,
        (None, Scheme::Https) => 443,
    };
    let path = uri.path_and_query().cloned();
    Some(Method::Http(Http {
        scheme,
        host: Some(host.trim_matches(['[', ']']).to_owned()).filter(|host| !host.is_empty()),
        port,
        path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
        headers: HeaderMap::new(),
    }))
}

fn port(text: &str) -> Option<Method> {
    let (host, number) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None => parse::name(host)?,
    };
    Some(Method::Tcp(Tcp { host: Some(host), port: parse::port(number)? }))
}

fn server(text: &str) -> Option<Method> {
    let (number, service) = text.split_once('/').unwrap_or((text, ""));
    let plain = service.chars().all(|c| c.is_ascii_graphic());
    let port = parse::port(number).filter(|_| plain)?;
    Some(Method::Grpc(Grpc { port, service: service.to_owned() }))
}

fn program(text: &str) -> Option<Method> {
    let command: Command = text.parse().ok()?;
    let program = command.program().to_str()?.to_owned();
    Some(Method::Exec(Exec { program, arguments: command.arguments().to_vec() }))
}

fn times(text: &str) -> Option<u32> {
    text.parse().ok().filter(|times| (1..=MOST_TIMES).contains(times))
}

const MOST_TIMES: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(found: Option<Method>) -> String {
        match found {
            None => "nothing".to_owned(),
            Some(Method::Units(units)) => format!("units {}", units.names().join(" ")),
            Some(Method::Http(http)) => {
                let Http { scheme, host, port, path, .. } = http;
                format!("{scheme:?} {} {port} {path}", host.unwrap_or_default())
            }
            Some(Method::Tcp(tcp)) => format!("tcp {} {}", tcp.host.unwrap_or_default(), tcp.port),
            Some(Method::Grpc(grpc)) => format!("grpc {} {}", grpc.port, grpc.service),
            Some(Method::Exec(exec)) => format!("{} {:?}", exec.program, exec.arguments),
        }
    }

    #[test]
    fn what_is_to_be_probed_is_written_as_people_write_it() {
        type Parse = fn(&str) -> Option<Method>;
        let cases: [(Parse, &str, &str); 24] = [
            (|text| units(text)?, "nginx, a.socket", "units nginx.service a.socket"),
            (|text| units(text)?, "nginx, -x", "nothing"),
            (page, "http://localhost:8080/ready?x=1", "Http localhost 8080 /ready?x=1"),
            (page, "https://app.example", "Https app.example 443 /"),
            (page, "http://[::1]/", "Http ::1 80 /"),
            (page, "http://u:p@host/", "nothing"),
            (page, "ftp://host/", "nothing"),
            (page, "http://host:0/", "nothing"),
            (page, "localhost:8080", "nothing"),
            (page, "/ready", "nothing"),
            (port, "localhost:5432", "tcp localhost 5432"),
            (port, "[::1]:5432", "tcp ::1 5432"),
            (port, "10.0.0.5:1", "tcp 10.0.0.5 1"),
            (port, ":5432", "nothing"),
            (port, "::1:5432", "nothing"),
            (port, "host:0", "nothing"),
            (port, "5432", "nothing"),
            (server, "9000", "grpc 9000 "),
            (server, "9000/shop.Cart", "grpc 9000 shop.Cart"),
            (server, "0", "nothing"),
            (server, "9000/a b", "nothing"),
            (program, "/bin/check --fast \"a b\"", "/bin/check [\"--fast\", \"a b\"]"),
            (program, "check", "nothing"),
            (program, "", "nothing"),
        ];
        for (parse, text, expected) in cases {
            assert_eq!(said(parse(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_verdict_takes_at_least_one_finding() {
        let counts = ["0", "1", "1000", "1001", "-1", "x"].map(times);
        assert_eq!(counts, [None, Some(1), Some(1_000), None, None, None]);
    }
}
