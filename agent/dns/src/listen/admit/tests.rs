//! Who is let in, and what the others are told.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn this_machine_and_those_who_are_allowed_may_ask() {
    let allowed = ["198.51.100.0/24".parse().unwrap()];
    let from = |text: &str| SocketAddr::new(ip(text), 4000);
    for (client, asked, admitted) in [
        ("203.0.113.5", "127.0.0.1", true),
        ("127.0.0.9", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("::1", "2001:db8::1", true),
        ("198.51.100.9", "192.0.2.1", true),
        ("192.0.2.2", "192.0.2.1", false),
        ("10.0.0.1", "192.0.2.1", false),
    ] {
        let may = is_near(from(client), ip(asked)) || admits(&allowed, from(client));
        assert_eq!(may, admitted, "{client} asks {asked}");
    }
}

#[test]
fn a_refusal_is_a_header_and_answers_no_answer() {
    let mut out = vec![1];
    let mut query = *b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
    assert!(turn_away(&query, &mut out));
    assert_eq!(out, b"\x12\x34\x81\x05\0\0\0\0\0\0\0\0");
    query[2] |= 0x80;
    assert!(!turn_away(&query, &mut out));
    assert!(!turn_away(b"scrap", &mut out));
    assert!(out.is_empty());
}
