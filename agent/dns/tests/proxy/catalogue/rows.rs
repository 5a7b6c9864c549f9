//! The rows: what a sidecar's DNS has always answered, and more of the kind.

use hawser_dns::Style;
use hickory_proto::op::ResponseCode::{self, NXDomain, NoError};

use crate::client::{A, AAAA, HTTPS, MX, SRV};
use Expected::{Answer, NoData, Relayed};

/// What is to come of a question.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// From the table, with these records in any order.
    Answer(&'static [&'static str]),
    /// From the table: known, and has no such record.
    NoData,
    /// From the other resolver, with this code and number of records.
    Relayed(ResponseCode, usize),
}

/// What is asked, and what we and Istio's agent say to it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: u16,
    ours: Expected,
    istio: Expected,
}

const ANY: u16 = 255;
const PTR: u16 = 12;
const TXT: u16 = 16;

const NOT_THERE: Expected = Relayed(NXDomain, 0);

const fn both(name: &'static str, kind: u16, expected: Expected) -> Row {
    differ(name, kind, expected, expected)
}

const fn differ(name: &'static str, kind: u16, ours: Expected, istio: Expected) -> Row {
    Row { name, kind, ours, istio }
}

pub(crate) const ROWS: &[Row] = &[
    both("www.google.com", A, Answer(&["www.google.com. A 1.1.1.1"])),
    both(
        "www.google.com.ns1.svc.cluster.local",
        A,
        Answer(&[
            "www.google.com.ns1.svc.cluster.local. CNAME www.google.com.",
            "www.google.com. A 1.1.1.1",
        ]),
    ),
    both("www.bing.com", A, Relayed(NoError, 1)),
    both(
        "productpage.ns1.svc.cluster.local",
        A,
        Answer(&["productpage.ns1.svc.cluster.local. A 9.9.9.9"]),
    ),
    both("productpage.ns1.svc.cluster.local.ns1.svc.cluster.local", A, NOT_THERE),
    both("productpage.ns1", A, Answer(&["productpage.ns1. A 9.9.9.9"])),
    both("productpage", A, Answer(&["productpage. A 9.9.9.9"])),
    both(
        "productpage.ns1.ns1.svc.cluster.local",
        A,
        Answer(&[
            "productpage.ns1.ns1.svc.cluster.local. CNAME productpage.ns1.",
            "productpage.ns1. A 9.9.9.9",
        ]),
    ),
    both("productpage.ns1.ns1.svc.cluster.local", AAAA, NoData),
    both("example.ns2", A, Answer(&["example.ns2. A 10.10.10.10"])),
    both(
        "example.ns2.svc.cluster.local",
        A,
        Answer(&["example.ns2.svc.cluster.local. A 10.10.10.10"]),
    ),
    both("example.ns2.svc", A, Answer(&["example.ns2.svc. A 10.10.10.10"])),
    both("example", A, NOT_THERE),
    both("svc-with-alt", A, Answer(&["svc-with-alt. A 15.15.15.15"])),
    both("svc-with-alt.ns1", A, Answer(&["svc-with-alt.ns1. A 15.15.15.15"])),
    both("svc-with-alt.ns1.svc", A, Answer(&["svc-with-alt.ns1.svc. A 15.15.15.15"])),
    both(
        "svc-with-alt.ns1.svc.cluster.local",
        A,
        Answer(&["svc-with-alt.ns1.svc.cluster.local. A 15.15.15.15"]),
    ),
    both(
        "svc-with-alt.ns1.svc.clusterset.local",
        A,
        Answer(&["svc-with-alt.ns1.svc.clusterset.local. A 15.15.15.15"]),
    ),
    both(
        "details.ns2.svc.cluster.remote",
        A,
        Answer(&[
            "details.ns2.svc.cluster.remote. A 11.11.11.11",
            "details.ns2.svc.cluster.remote. A 12.12.12.12",
            "details.ns2.svc.cluster.remote. A 13.13.13.13",
            "details.ns2.svc.cluster.remote. A 14.14.14.14",
        ]),
    ),
    both("details.ns2", A, NOT_THERE),
    both("dual.localhost", A, Answer(&["dual.localhost. A 2.2.2.2"])),
    both("dual.localhost", AAAA, Answer(&["dual.localhost. AAAA 2001:db8::ff00:42:8329"])),
    both("ipv6.localhost", A, NoData),
    both("ipv4.localhost", AAAA, NoData),
    both("foo.wildcard", A, Answer(&["foo.wildcard. A 10.10.10.10"])),
    both("a.b.wildcard", A, Answer(&["a.b.wildcard. A 11.11.11.11"])),
    differ(
        "foo.wildcard.ns1.svc.cluster.local",
        A,
        Answer(&["foo.wildcard.ns1.svc.cluster.local. A 10.10.10.10"]),
        Answer(&[
            "foo.wildcard.ns1.svc.cluster.local. CNAME *.wildcard.",
            "*.wildcard. A 10.10.10.10",
        ]),
    ),
    both("foo.svc.mesh.company.net", A, Answer(&["foo.svc.mesh.company.net. A 10.1.2.3"])),
    both(
        "foo.foons.svc.mesh.company.net",
        A,
        Answer(&["foo.foons.svc.mesh.company.net. A 10.1.2.3"]),
    ),
    differ(
        "foo.svc.mesh.company.net.ns1.svc.cluster.local",
        A,
        Answer(&["foo.svc.mesh.company.net.ns1.svc.cluster.local. A 10.1.2.3"]),
        Answer(&[
            "foo.svc.mesh.company.net.ns1.svc.cluster.local. CNAME *.svc.mesh.company.net.",
            "*.svc.mesh.company.net. A 10.1.2.3",
        ]),
    ),
    both("example.localhost", A, Answer(&["example.localhost. A 3.3.3.3"])),
    // mixed case
    differ(
        "WWW.Google.com",
        A,
        Answer(&["WWW.Google.com. A 1.1.1.1"]),
        Answer(&["www.google.com. A 1.1.1.1"]),
    ),
    differ(
        "Example.NS2.cluster.local",
        A,
        Answer(&["Example.NS2.cluster.local. CNAME Example.NS2.", "Example.NS2. A 10.10.10.10"]),
        NOT_THERE,
    ),
    // other types
    differ("productpage", SRV, NoData, NOT_THERE),
    differ("_http._tcp.productpage.ns1", SRV, NoData, NOT_THERE),
    differ("productpage.ns1.svc.cluster.local", HTTPS, NoData, NOT_THERE),
    differ("productpage", ANY, Answer(&["productpage. A 9.9.9.9"]), NOT_THERE),
    differ("productpage.ns1", TXT, NoData, NOT_THERE),
    differ("www.google.com", HTTPS, NoData, NOT_THERE),
    differ("www.google.com", MX, Relayed(NoError, 0), NOT_THERE),
    differ("foo.wildcard", MX, Relayed(NoError, 0), NOT_THERE),
    differ(
        "9.9.9.9.in-addr.arpa",
        PTR,
        Answer(&["9.9.9.9.in-addr.arpa. PTR productpage.ns1.svc.cluster.local."]),
        NOT_THERE,
    ),
    both("9.9.9.8.in-addr.arpa", PTR, NOT_THERE),
    both("9.9.9.in-addr.arpa", PTR, NOT_THERE),
    // known, and empty
    differ("headless", A, NoData, NOT_THERE),
    differ("headless.ns1.svc.cluster.local", SRV, NoData, NOT_THERE),
];

impl Row {
    /// What is to come of it in this style.
    pub(crate) fn expected(&self, style: Style) -> Expected {
        match style {
            Style::Plain => self.ours,
            Style::Istio => self.istio,
        }
    }
}
