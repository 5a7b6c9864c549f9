//! Tests of reading resolv.conf.

use super::*;

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn parsed(text: &str) -> ResolvConf {
    parse(text.as_bytes(), |name| (name == "eth0").then_some(7))
}

#[test]
fn resolvers_and_search_domains_are_read() {
    let found = parsed(
        "# made by hand\n\
         nameserver 192.0.2.1\n\
         ; nameserver 192.0.2.9\n\
         \tnameserver   2001:db8::1   # trailing\n\
         nameserver fe80::1%eth0\n\
         nameserver fe80::1%3\n\
         nameserver [127.0.0.1]:5353\n\
         nameserver [::1]:5353\n\
         options ndots:5 edns0\n\
         domain first.example\n\
         search a.example b.example\n",
    );
    let v6 = |index| SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, index));
    let mut servers = addresses(&["192.0.2.1:53", "[2001:db8::1]:53"]);
    servers.extend([v6(7), v6(3)]);
    servers.extend(addresses(&["127.0.0.1:5353", "[::1]:5353"]));
    assert_eq!(found.servers, servers);
    assert_eq!(found.search, ["a.example", "b.example"]);
    assert_eq!(found.skipped, 0);
}

#[test]
fn the_last_of_domain_and_search_counts() {
    assert_eq!(parsed("search a b\ndomain c d\n").search, ["c"]);
    assert_eq!(parsed("search a b\nsearch\n").search, [""; 0]);
}

#[test]
fn bad_lines_are_passed_over() {
    let found = parsed(
        "nameserver\nnameserver dns.example\nnameserver 192.0.2\nnameserver 192.0.2.1:53\n\
         nameserver fe80::1%nowhere\nnameserver [192.0.2.1]:0\nnameserver [192.0.2.1]\n\
         nameserverx 192.0.2.1\nnonsense\n\u{0}\nnameserver 192.0.2.7\n",
    );
    assert_eq!(found.servers, addresses(&["192.0.2.7:53"]));
    assert_eq!(found.skipped, 7);
    assert_eq!(parse(b"\xff\xfe\nnameserver 192.0.2.7\r\n", |_| None).servers.len(), 1);
}

#[test]
fn a_resolver_counts_once_and_there_are_not_too_many() {
    let twice = parsed("nameserver 192.0.2.1\nnameserver 192.0.2.1\n");
    assert_eq!((twice.servers.len(), twice.skipped), (1, 0));
    let many: String = (0..20).map(|n| format!("nameserver 192.0.2.{n}\n")).collect();
    assert_eq!((parsed(&many).servers.len(), parsed(&many).skipped), (MAX_SERVERS, 12));
}

#[test]
fn no_resolver_at_all_is_no_error() {
    assert_eq!(parsed(""), ResolvConf::default());
}

#[test]
fn we_ourselves_are_no_resolver() {
    let cases = [
        ("127.0.0.1:15053", "127.0.0.1:15053", true),
        ("127.0.0.1:15053", "127.0.0.1:53", false),
        ("127.0.0.1:53", "127.0.0.53:53", false),
        ("127.0.0.1:53", "0.0.0.0:53", true),
        ("127.0.0.1:53", "[::ffff:127.0.0.1]:53", true),
        ("[::1]:53", "[::]:53", true),
        ("[::1]:53", "127.0.0.1:53", false),
        ("0.0.0.0:53", "127.0.0.53:53", true),
        ("0.0.0.0:53", "192.0.2.1:53", false),
        ("0.0.0.0:53", "[::1]:53", false),
        ("[::]:53", "[::1]:53", true),
    ];
    for (own, server, same) in cases {
        let (own, server) = (own.parse().unwrap(), server.parse().unwrap());
        assert_eq!(is_same(own, server), same, "{own} {server}");
    }
}
