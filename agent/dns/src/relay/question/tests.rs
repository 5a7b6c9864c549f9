//! Which queries are one question, and what is sent of them.

use super::*;
use crate::answer::{Action, View, answer};
use crate::table::Search;

/// A query for `name`, and what follows the question.
fn query(name: &[u8], flags: [u8; 2], rest: &[u8]) -> Vec<u8> {
    let additionals = u8::from(!rest.is_empty());
    let head = [9, 9, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, additionals];
    [&head[..], name, &[0, 1, 0, 1], rest].concat()
}

fn opt(payload: u16, fields: [u8; 4], options: &[u8]) -> Vec<u8> {
    let len = u16::try_from(options.len()).unwrap().to_be_bytes();
    [&[0, 0, 41][..], &payload.to_be_bytes(), &fields, &len, options].concat()
}

fn known(packet: &[u8], style: Style) -> (Sort, Vec<u8>) {
    let mut octets = Vec::new();
    let errand = Errand { style, ..errand(packet) };
    let sort = key(packet, &errand, Transport::Udp, &mut octets);
    (sort, octets)
}

fn errand(packet: &[u8]) -> Errand {
    let view = View { table: None, search: &Search::default(), style: Style::Plain, far: false };
    let (mut dice, mut out) = (fastrand::Rng::with_seed(1), Vec::new());
    match answer(packet, &view, Transport::Udp, &mut dice, &mut out) {
        Action::Relay(errand) => errand,
        other => panic!("{other:?}"),
    }
}

#[test]
fn letters_identifiers_and_sizes_make_no_difference() {
    let one = query(b"\x03www\x00", [1, 0], &opt(512, [0; 4], b""));
    let mut other = query(b"\x03wWW\x00", [1, 0], &opt(4096, [0; 4], b"\x00\x0a\x00\x08cookies!"));
    other[0] = 1;
    assert_eq!(known(&one, Style::Plain), known(&other, Style::Plain));
    assert_eq!(known(&one, Style::Plain).0, Sort::Plain);
    assert_ne!(known(&one, Style::Istio), known(&other, Style::Istio));
}

#[test]
fn what_changes_the_reply_makes_a_difference() {
    let name = b"\x03www\x00";
    let mut kind = query(name, [1, 0], b"");
    kind[18] = 28;
    let all = [
        query(name, [1, 0], b""),
        query(b"\x03wwx\x00", [1, 0], b""),
        kind,
        query(name, [1, 0x10], b""),
        query(name, [1, 0x20], b""),
        query(name, [1, 0], &opt(512, [0; 4], b"")),
        query(name, [1, 0], &opt(512, [0, 0, 0x80, 0], b"")),
    ];
    let keys: Vec<_> = all.iter().map(|packet| known(packet, Style::Plain)).collect();
    assert!(keys.iter().all(|(sort, _)| *sort == Sort::Plain));
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[index + 1..].contains(key), "{index}");
    }
}

#[test]
fn what_is_odd_is_passed_on_as_it_is() {
    let name = b"\x03www\x00";
    let mut chaos = query(name, [1, 0], b"");
    chaos[20] = 3;
    let mut more = query(name, [1, 0], &opt(512, [0; 4], b""));
    more.push(0);
    let all = [
        query(name, [0, 0], b""),
        query(name, [1, 0x40], b""),
        query(name, [1, 0], &opt(512, [0, 0, 0x40, 0], b"")),
        query(name, [1, 0], &opt(512, [0; 4], b"\x00\x08\x00\x04\x00\x01\x00\x00")),
        chaos,
        more,
    ];
    for (index, packet) in all.iter().enumerate() {
        assert_eq!(known(packet, Style::Plain).0, Sort::Odd, "{index}");
        assert_eq!(super::query(packet, &errand(packet), Sort::Odd), *packet);
    }
}

#[test]
fn a_plain_query_is_put_in_our_own_words() {
    let packet = query(b"\x03WwW\x00", [1, 0x10], &opt(512, [0, 0, 0x80, 0], b"\0\x0a\0\x02!!"));
    let sent = super::query(&packet, &errand(&packet), Sort::Plain);
    assert_eq!(sent, query(b"\x03WwW\x00", [1, 0x10], &opt(1232, [0, 0, 0x80, 0], b"")));
    let large = query(b"\x03www\x00", [1, 0], &opt(4096, [0; 4], b""));
    assert_eq!(super::query(&large, &errand(&large), Sort::Plain), large);
    let bare = query(b"\x03www\x00", [1, 0], b"");
    assert_eq!(super::query(&bare, &errand(&bare), Sort::Plain), bare);
}
