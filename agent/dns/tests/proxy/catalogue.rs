//! What a sidecar's DNS has always answered, row by row, and what is answered here: decided by the
//! core, and over both transports, with resolvers asked one after the other and all at once.

mod rows;

use std::net::SocketAddr;
use std::time::Duration;

use hawser_dns::answer::{Action, Transport, View, answer};
use hawser_dns::{Forward, Options, Scope, Search, Sockets, Style, Table, Upstream, Upstreams};
use hickory_proto::op::ResponseCode::{NXDomain, NoError, ServFail};
use hickory_proto::op::{Message, ResponseCode};

use crate::client::{A, ask, by_udp, lines, query, read};
use crate::fixture::{Proxy, mesh, names, options, scope, search, service};
use crate::upstream::Upstream as Resolver;
use rows::Expected::{Answer, NoData, Relayed};
use rows::{ROWS, Row};

const STYLES: [Style; 2] = [Style::Plain, Style::Istio];

/// The table of the mesh in this style.
fn table(style: Style) -> Table {
    let (table, skipped) = Table::build(&mesh(), &Scope { style, ..scope() });
    assert_eq!(skipped, hawser_dns::table::Skipped::default());
    table
}

fn view<'a>(table: &'a Table, search: &'a Search, style: Style) -> View<'a> {
    View { table: Some(table), search, style, far: false }
}

#[test]
fn the_core_decides_every_row() {
    let mut dice = fastrand::Rng::with_seed(1);
    let mut out = Vec::new();
    for style in STYLES {
        let (table, search) = (table(style), search());
        let view = view(&table, &search, style);
        for row @ Row { name, kind, .. } in ROWS {
            let packet = query(1, name, *kind, None);
            let action = answer(&packet, &view, Transport::Udp, &mut dice, &mut out);
            match (action, row.expected(style)) {
                (Action::Relay(_), Relayed(..)) => {}
                (Action::Answer, Answer(_) | NoData) => check(row, style, &read(&out)),
                (action, _) => panic!("{name} {kind} {style:?}: {action:?}"),
            }
        }
    }
}

#[tokio::test]
async fn every_row_is_answered_over_udp() {
    for style in STYLES {
        every_row(style, Transport::Udp, false).await;
    }
}

#[tokio::test]
async fn every_row_is_answered_over_tcp() {
    for style in STYLES {
        every_row(style, Transport::Tcp, false).await;
    }
}

#[tokio::test]
async fn every_row_is_answered_if_resolvers_are_asked_all_at_once() {
    for style in STYLES {
        every_row(style, Transport::Udp, true).await;
        every_row(style, Transport::Tcp, true).await;
    }
}

async fn every_row(style: Style, transport: Transport, parallel: bool) {
    let (one, other) = (Resolver::of_the_catalogue().await, Resolver::of_the_catalogue().await);
    let proxy = start(style, parallel, &[one.address, other.address]).await;
    for (id, row) in (1..).zip(ROWS) {
        let Row { name, kind, .. } = row;
        let packet = query(id, name, *kind, Some(4096));
        let answer = ask(&packet, proxy.address, transport).await;
        let question = 12..packet.len() - 11;
        assert_eq!(answer[..2], packet[..2], "{name}");
        assert_eq!(answer[question.clone()], packet[question], "{name}: question as it was asked");
        check(row, style, &read(&answer));
    }
    let from_table = |row: &&Row| !matches!(row.expected(style), Relayed(..));
    let (answered, relayed): (Vec<_>, Vec<_>) = ROWS.iter().partition(from_table);
    let totals = proxy.totals();
    assert_eq!(totals.queries, ROWS.len() as u64);
    assert_eq!((totals.answered, totals.relayed), (answered.len() as u64, relayed.len() as u64));
    assert_eq!((totals.refused, totals.dropped, totals.relay_failed), (0, 0, 0));
    proxy.end().await;
}

/// A proxy that serves the mesh in this style.
async fn start(style: Style, parallel: bool, resolvers: &[SocketAddr]) -> Proxy {
    let proxy = start_empty(style, parallel, resolvers, Duration::from_secs(20)).await;
    proxy.publish(mesh()).await;
    proxy
}

/// A proxy that knows no names yet.
async fn start_empty(
    style: Style,
    parallel: bool,
    resolvers: &[SocketAddr],
    timeout: Duration,
) -> Proxy {
    let resolvers = resolvers.iter().copied().map(Upstream::from).collect();
    let told = options(Upstreams::Fixed(resolvers), timeout);
    let forward = Forward { style, parallel, ..told.forward };
    let options = Options { scope: Scope { style, ..told.scope }, forward, ..told };
    let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    Proxy::start_by(sockets, options).await
}

fn check(row: &Row, style: Style, message: &Message) {
    let Row { name, kind, .. } = row;
    let mut found = lines(message);
    let expected = row.expected(style);
    if !matches!(expected, Relayed(..)) {
        assert_eq!(message.metadata.response_code, NoError, "{name} {kind}");
        assert!(message.metadata.authoritative && !message.metadata.truncation);
        assert_eq!(message.metadata.recursion_available, style == Style::Plain, "{name}");
    }
    match expected {
        Answer(records) => {
            found.sort_by_key(|line| records.iter().position(|record| record == line));
            assert_eq!(found, *records, "{name} {kind} {style:?}");
            assert!(message.authorities.is_empty());
            assert!(message.answers.iter().all(|record| record.ttl == 30));
        }
        NoData => {
            assert_eq!(found, [""; 0], "{name} {kind} {style:?}");
            let zones = usize::from(style == Style::Plain);
            assert_eq!(message.authorities.len(), zones, "{name} {kind}: the zone");
        }
        Relayed(code, records) => {
            assert_eq!(message.metadata.response_code, code, "{name} {kind} {style:?}");
            assert_eq!(found.len(), records, "{name} {kind}");
        }
    }
    if style == Style::Plain {
        assert!(!found.iter().any(|line| line.contains('*')), "{name}");
    }
}

#[test]
fn the_order_of_addresses_depends_on_the_dice() {
    let packet = query(1, "details.ns2.svc.cluster.remote", A, None);
    for style in STYLES {
        let (table, search) = (table(style), search());
        let view = view(&table, &search, style);
        let order = |seed| {
            let mut out = Vec::new();
            let mut dice = fastrand::Rng::with_seed(seed);
            answer(&packet, &view, Transport::Udp, &mut dice, &mut out);
            lines(&read(&out))
        };
        let orders: std::collections::HashSet<_> = (0..200).map(order).collect();
        assert_eq!(orders.len(), 4 * 3 * 2, "every order there is");
    }
}

/// Large replies: name, payload → code, records and TC over UDP, the same over TCP.
#[tokio::test]
async fn large_replies_fit_and_say_what_is_missing() {
    type Said = (ResponseCode, usize, bool);
    let whole: Said = (NoError, 64, false);
    let cut: Said = (NoError, 29, true);
    let failed: Said = (ServFail, 0, false);
    let cases: [(&str, Option<u16>, [Said; 2], Said); 4] = [
        ("giant", None, [cut, failed], whole),
        ("giant", Some(65535), [whole, whole], whole),
        ("giant", Some(100), [cut, failed], whole),
        ("giant-tc", None, [cut, cut], cut),
    ];
    for (style, index) in STYLES.into_iter().zip(0..) {
        for parallel in [false, true] {
            let upstream = Resolver::of_the_catalogue().await;
            for (name, payload, by_udp, by_tcp) in &cases {
                // Each case by itself: what is kept of one is not what the next is about.
                let proxy = start(style, parallel, &[upstream.address]).await;
                let packet = query(1, name, A, *payload);
                for (transport, expected) in
                    [(Transport::Udp, by_udp[index]), (Transport::Tcp, *by_tcp)]
                {
                    let message = read(&ask(&packet, proxy.address, transport).await);
                    let meta = &message.metadata;
                    let said = (meta.response_code, message.answers.len(), meta.truncation);
                    assert_eq!(said, expected, "{name} {payload:?} {transport:?} {style:?}");
                }
                proxy.end().await;
            }
        }
    }
}

#[tokio::test]
async fn when_nobody_replies_in_time_the_client_is_told_so() {
    for style in STYLES {
        for parallel in [false, true] {
            let mute = Resolver::mute().await;
            for millis in [100, 200] {
                let timeout = Duration::from_millis(millis);
                let proxy = start_empty(style, parallel, &[mute.address], timeout).await;
                for transport in [Transport::Udp, Transport::Tcp] {
                    failed(&proxy, transport).await;
                }
                proxy.end().await;
            }
        }
    }
}

#[tokio::test]
async fn without_a_resolver_that_could_be_asked_the_client_is_told_so() {
    let gone = Resolver::mute().await.end().await;
    for style in STYLES {
        for parallel in [false, true] {
            for resolvers in [&[][..], &[gone][..]] {
                let timeout = Duration::from_secs(5);
                let proxy = start_empty(style, parallel, resolvers, timeout).await;
                proxy.publish(mesh()).await;
                failed(&proxy, Transport::Udp).await;
                failed(&proxy, Transport::Tcp).await;
                let mesh = by_udp(&query(2, "productpage", A, None), proxy.address).await;
                assert_eq!(lines(&read(&mesh)), ["productpage. A 9.9.9.9"]);
                proxy.end().await;
            }
        }
    }
}

async fn failed(proxy: &Proxy, transport: Transport) {
    let message = read(&ask(&query(1, "www.bing.com", A, None), proxy.address, transport).await);
    assert_eq!(message.metadata.response_code, ServFail);
    assert!(message.answers.is_empty());
}

#[tokio::test]
async fn before_the_first_table_all_names_are_asked_outside() {
    let upstream = Resolver::of_the_catalogue().await;
    for style in STYLES {
        let patience = Duration::from_secs(20);
        let proxy = start_empty(style, false, &[upstream.address], patience).await;
        for (name, code) in [("www.bing.com", NoError), ("productpage", NXDomain)] {
            let message = read(&by_udp(&query(1, name, A, None), proxy.address).await);
            assert_eq!(message.metadata.response_code, code, "{name}");
        }
        proxy.end().await;
    }
}

#[tokio::test]
async fn the_first_resolvers_word_counts_even_if_it_knows_no_such_name() {
    let no = Resolver::saying(NXDomain).await;
    let yes = Resolver::knowing([1, 2, 3, 4]).await;
    let proxy = start(Style::Plain, false, &[no.address, yes.address]).await;
    let message = read(&by_udp(&query(1, "www.bing.com", A, None), proxy.address).await);
    assert_eq!(message.metadata.response_code, NXDomain);
    proxy.end().await;
}

#[tokio::test]
async fn a_query_of_513_octets_is_heard() {
    let upstream = Resolver::of_the_catalogue().await;
    for style in STYLES {
        let proxy = start(style, false, &[upstream.address]).await;
        let mut packet = query(1, "productpage", A, Some(4096));
        // An option that nobody knows makes it long.
        let padding = 513 - packet.len() - 4;
        let end = packet.len();
        packet[end - 2..].copy_from_slice(&u16::try_from(padding + 4).unwrap().to_be_bytes());
        packet.extend_from_slice(&[0, 12]);
        packet.extend_from_slice(&u16::try_from(padding).unwrap().to_be_bytes());
        packet.resize(513, 0);
        let message = read(&by_udp(&packet, proxy.address).await);
        assert_eq!(lines(&message), ["productpage. A 9.9.9.9"]);
        proxy.end().await;
    }
}

#[test]
fn an_alias_of_two_services_is_always_the_same_ones() {
    let mut first = service("web", "ns1", &["10.0.0.1"]);
    let mut second = service("api", "ns1", &["10.0.0.2"]);
    for info in [&mut first, &mut second] {
        info.alt_hosts = vec!["shop.example".to_owned()];
    }
    let (one, other) = ("web.ns1.svc.cluster.local", "api.ns1.svc.cluster.local");
    for style in STYLES {
        for entries in [
            vec![(one, first.clone()), (other, second.clone())],
            vec![(other, second.clone()), (one, first.clone())],
        ] {
            let (table, _) = Table::build(&names(entries), &Scope { style, ..scope() });
            let said = said(&table, &search(), style, "shop.example");
            assert_eq!(said, ["shop.example. A 10.0.0.2"], "{style:?}");
        }
    }
}

#[test]
fn a_search_domain_may_end_in_a_dot() {
    let search = Search::new(&["ns1.svc.cluster.local.".to_owned()]);
    for style in STYLES {
        let said = said(&table(style), &search, style, "productpage.ns1.ns1.svc.cluster.local");
        assert_eq!(said.len(), 2, "{style:?}");
    }
}

#[test]
fn without_a_domain_of_the_workload_there_are_no_short_names() {
    for style in STYLES {
        let scope = Scope { style, domain: String::new(), ..scope() };
        let (table, _) = Table::build(&mesh(), &scope);
        for (name, answers) in
            [("productpage", 0), ("productpage.ns1", 0), ("productpage.ns1.svc.cluster.local", 1)]
        {
            assert_eq!(said(&table, &search(), style, name).len(), answers, "{name} {style:?}");
        }
    }
}

/// The records that the table says a name has.
fn said(table: &Table, search: &Search, style: Style, name: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut dice = fastrand::Rng::with_seed(1);
    let packet = query(1, name, A, None);
    match answer(&packet, &view(table, search, style), Transport::Udp, &mut dice, &mut out) {
        Action::Answer => lines(&read(&out)),
        _ => Vec::new(),
    }
}
