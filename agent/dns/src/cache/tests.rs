//! What is kept, for how long, and what is given out.

use super::*;
use crate::message::{HEADER, flag, rcode};

const A: u16 = 1;
const SOA: u16 = 6;
const OPT: u16 = 41;
const HOUR: Duration = Duration::from_secs(3600);

/// A reply for `name` of type A, with records of these sections: (section, type, TTL, data).
fn reply(name: &str, code: u8, records: &[(usize, u16, u32, &[u8])]) -> Vec<u8> {
    let mut message = vec![7, 7, 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0];
    message.push(u8::try_from(name.len()).unwrap());
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    for &(section, kind, ttl, data) in records {
        message[5 + 2 * section] += 1;
        message.extend_from_slice(if kind == OPT { &[0] } else { &[0xc0, 12] });
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(&ttl.to_be_bytes());
        message.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

fn soa(minimum: u32) -> Vec<u8> {
    [&[0, 0][..], &[0; 16], &minimum.to_be_bytes()].concat()
}

fn good(name: &str, ttl: u32) -> Vec<u8> {
    reply(name, rcode::NO_ERROR, &[(1, A, ttl, &[1, 2, 3, 4])])
}

fn cache() -> Cache {
    Cache::new(1 << 20, HOUR)
}

fn keep(cache: &mut Cache, key: &str, reply: &[u8], now: u64) {
    cache.keep(&key.as_bytes().into(), reply, now);
}

/// How old the entry is, and the TTLs that go out.
fn look(cache: &mut Cache, key: &str, now: u64) -> Option<(Age, Vec<u32>)> {
    let mut out = Vec::new();
    let age = cache.copy(key.as_bytes(), now, &mut out)?;
    let mut ttls = Vec::new();
    let _shelf = Shelf::of(&out, &mut ttls);
    let ttls = ttls.iter().map(|&at| {
        let at = usize::from(at);
        u32::from_be_bytes(out[at..at + 4].try_into().unwrap())
    });
    Some((age, ttls.collect()))
}

#[test]
fn ttls_are_counted_down_and_the_shortest_decides() {
    let mut cache = cache();
    let records: [(usize, u16, u32, &[u8]); 4] = [
        (1, A, 60, &[1, 2, 3, 4]),
        (1, A, 30, &[1, 2, 3, 5]),
        (2, 2, 90, &[0]),
        (3, OPT, 0x8000, &[]),
    ];
    let message = reply("www", rcode::NO_ERROR, &records);
    keep(&mut cache, "www", &message, 1_000);

    assert_eq!(look(&mut cache, "www", 1_999), Some((Age::Fresh, vec![60, 30, 90])));
    assert_eq!(look(&mut cache, "www", 11_000), Some((Age::Fresh, vec![50, 20, 80])));
    assert_eq!(look(&mut cache, "www", 30_999), Some((Age::Fresh, vec![31, 1, 61])));
    let mut out = Vec::new();
    cache.copy(b"www", 11_000, &mut out);
    assert_eq!(out[out.len() - 11..], message[message.len() - 11..], "flags of EDNS are no TTL");
    assert_eq!(out[..2], [0, 0]);
}

#[test]
fn what_is_past_its_time_is_given_with_a_short_ttl_until_it_is_over() {
    let mut cache = cache();
    keep(&mut cache, "www", &good("www", 10), 0);
    assert_eq!(look(&mut cache, "www", 9_999), Some((Age::Fresh, vec![1])));
    assert_eq!(look(&mut cache, "www", 10_000), Some((Age::Stale, vec![30])));
    cache.rest(b"www", 20_000);
    assert_eq!(look(&mut cache, "www", 24_999), Some((Age::Resting, vec![30])));
    assert_eq!(look(&mut cache, "www", 25_000), Some((Age::Stale, vec![30])));
    assert_eq!(look(&mut cache, "www", 3_609_999), Some((Age::Stale, vec![30])));
    assert_eq!(look(&mut cache, "www", 3_610_000), None);
}

#[test]
fn without_leave_nothing_is_given_after_its_time() {
    let mut cache = Cache::new(1 << 20, Duration::ZERO);
    keep(&mut cache, "www", &good("www", 10), 0);
    assert!(look(&mut cache, "www", 9_999).is_some());
    assert_eq!(look(&mut cache, "www", 10_000), None);
}

#[test]
fn that_there_is_none_lasts_as_long_as_the_zone_says() {
    let cases: [(u8, u32, u32, Option<u64>); 6] = [
        (rcode::NAME_ERROR, 60, 20, Some(20)),
        (rcode::NAME_ERROR, 15, 20, Some(15)),
        (rcode::NO_ERROR, 60, 20, Some(20)),
        (rcode::NAME_ERROR, 86_400, 86_400, Some(300)),
        (rcode::NAME_ERROR, 60, 0, None),
        (rcode::NAME_ERROR, u32::MAX, 60, None),
    ];
    for (code, ttl, minimum, seconds) in cases {
        let mut cache = Cache::new(1 << 20, Duration::ZERO);
        keep(&mut cache, "x", &reply("x", code, &[(2, SOA, ttl, &soa(minimum))]), 0);
        let last = seconds.map(|seconds| look(&mut cache, "x", seconds * 1000 - 1).is_some());
        assert_eq!(last.unwrap_or(false), seconds.is_some(), "{ttl} {minimum}");
        assert_eq!(look(&mut cache, "x", seconds.unwrap_or(0) * 1000), None, "{ttl} {minimum}");
    }
}

#[test]
fn what_nobody_says_the_time_of_is_not_kept() {
    let mut truncated = good("x", 60);
    truncated[2] |= flag::TRUNCATED;
    let mut more = good("x", 60);
    more.push(0);
    let mut fewer = good("x", 60);
    fewer.pop();
    let mut chaos = good("x", 60);
    chaos[HEADER + 6] = 3;
    let cases = [
        truncated,
        more,
        fewer,
        chaos,
        good("x", 0),
        good("x", u32::MAX),
        reply("x", rcode::NO_ERROR, &[]),
        reply("x", rcode::NAME_ERROR, &[]),
        reply("x", rcode::NO_ERROR, &[(1, 5, 60, &[0])]),
        reply("x", rcode::FORMAT_ERROR, &[]),
        reply("x", rcode::NOT_IMPLEMENTED, &[]),
        reply("x", 9, &[]),
        vec![0; HEADER],
        Vec::new(),
    ];
    for (index, case) in cases.iter().enumerate() {
        let mut cache = cache();
        keep(&mut cache, "x", case, 0);
        assert_eq!((cache.len(), cache.octets()), (0, 0), "case {index}");
    }
}

#[test]
fn a_day_is_the_longest_time() {
    let mut cache = Cache::new(1 << 20, Duration::ZERO);
    keep(&mut cache, "x", &good("x", 1 << 30), 0);
    assert!(look(&mut cache, "x", 86_399_999).is_some());
    assert_eq!(look(&mut cache, "x", 86_400_000), None);
}

#[test]
fn an_error_is_kept_for_a_moment_and_never_instead_of_an_answer() {
    for code in [rcode::SERVER_FAILURE, rcode::REFUSED] {
        let mut cache = cache();
        keep(&mut cache, "x", &reply("x", code, &[]), 0);
        assert_eq!(look(&mut cache, "x", 999), Some((Age::Fresh, vec![])));
        assert_eq!(look(&mut cache, "x", 1_000), None);

        keep(&mut cache, "x", &good("x", 10), 1_000);
        keep(&mut cache, "x", &reply("x", code, &[]), 20_000);
        assert_eq!(look(&mut cache, "x", 20_000), Some((Age::Stale, vec![30])));
    }
}

#[test]
fn the_latest_reply_counts() {
    let mut cache = cache();
    keep(&mut cache, "x", &good("x", 10), 0);
    let octets = cache.octets();
    keep(&mut cache, "x", &good("x", 99), 5_000);
    assert_eq!(look(&mut cache, "x", 5_000), Some((Age::Fresh, vec![99])));
    assert_eq!((cache.len(), cache.octets()), (1, octets));
}

#[test]
fn room_is_bounded_and_what_is_asked_for_stays() {
    let mut cache = Cache::new(64 * 1024, HOUR);
    keep(&mut cache, "often", &good("often", 3600), 0);
    for index in 0..10_000_u64 {
        let name = format!("n{index}");
        keep(&mut cache, &name, &good(&name, 3600), index);
        assert!(look(&mut cache, &name, index).is_some());
        assert!(look(&mut cache, "often", index).is_some(), "{index}");
        assert!(cache.octets() <= 64 * 1024);
    }
    assert!(cache.len() > 100);
    assert_eq!(cache.evicted(), 10_001 - cache.len());
    cache.clear();
    assert_eq!((cache.len(), cache.octets()), (0, 0));
    assert_eq!(look(&mut cache, "often", 0), None);
}

#[test]
fn one_reply_does_not_fill_the_cache() {
    let mut cache = Cache::new(16 * 1024, HOUR);
    let data = [0; 60_000];
    keep(&mut cache, "x", &reply("x", rcode::NO_ERROR, &[(1, A, 60, &data[..2_000])]), 0);
    assert_eq!(cache.len(), 0);
    let mut cache = Cache::new(1 << 30, HOUR);
    keep(&mut cache, "x", &reply("x", rcode::NO_ERROR, &[(1, A, 60, &data)]), 0);
    assert_eq!(cache.len(), 0);
}

#[test]
fn a_hit_takes_no_new_memory() {
    let mut cache = cache();
    keep(&mut cache, "x", &good("x", 60), 0);
    let mut out = Vec::with_capacity(512);
    let place = out.as_ptr();
    for now in 0..100 {
        assert_eq!(cache.copy(b"x", now, &mut out), Some(Age::Fresh));
    }
    assert_eq!((out.as_ptr(), out.capacity()), (place, 512));
}

proptest::proptest! {
    #[test]
    fn whatever_is_kept_comes_out_as_it_was(
        octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        now in 0..100_000_u64,
    ) {
        let mut cache = cache();
        let head = good("www", 60);
        let message = [&head[..], &octets].concat();
        for message in [octets.as_slice(), &message] {
            keep(&mut cache, "x", message, 0);
            let mut out = Vec::new();
            if cache.copy(b"x", now, &mut out).is_some() {
                proptest::prop_assert_eq!(out.len(), message.len());
            }
        }
    }
}
