//! What is counted as what.

use super::*;

const ASKED: [u8; 29] = *b"\x12\x34\x81\x80\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";

#[test]
fn an_answer_is_counted_by_source_code_type_and_transport() {
    let counts = Counts::default();
    let mut missing = ASKED;
    missing[3] = 0x83;
    missing[26] = 28;

    counts.note(Source::Table, Transport::Udp, &ASKED);
    counts.note(Source::Table, Transport::Udp, &ASKED);
    counts.note(Source::Upstream, Transport::Tcp, &missing);

    let of =
        |source, code, kind, transport, count| Answers { source, code, kind, transport, count };
    assert_eq!(
        counts.answers(),
        [
            of(Source::Table, Code::NoError, Kind::A, Transport::Udp, 2),
            of(Source::Upstream, Code::NxDomain, Kind::Aaaa, Transport::Tcp, 1),
        ]
    );
    let totals = counts.totals();
    assert_eq!((totals.answered, totals.upstream, totals.cached, totals.failed), (2, 1, 0, 0));
}

#[test]
fn every_kind_of_answer_has_a_place_of_its_own() {
    let mut taken = std::collections::BTreeSet::new();
    for (index, each) in kinds::cells().enumerate() {
        let cell = kinds::cell(each.source, each.code, each.kind, each.transport);
        assert_eq!(cell, index);
        assert!(kinds::row(each.source).unwrap().contains(&cell));
        taken.insert(cell);
    }
    assert_eq!((taken.len(), taken.last()), (CELLS, Some(&(CELLS - 1))));
}

#[test]
fn what_is_no_answer_counts_as_other() {
    for broken in [&ASKED[..0], &ASKED[..3], &ASKED[..12], &ASKED[..20], &ASKED[..26]] {
        assert_eq!(Kind::of(broken), Kind::Other, "{broken:?}");
    }
    assert_eq!(Code::of(&ASKED[..3]), Code::Other);
    // A name that points at itself.
    assert_eq!(Kind::of(b"\0\0\0\0\0\0\0\0\0\0\0\0\xc0\x0c\0\x01"), Kind::Other);
}

#[test]
fn types_and_codes_are_read_from_the_message() {
    let kinds = [
        (1, Kind::A),
        (28, Kind::Aaaa),
        (12, Kind::Ptr),
        (33, Kind::Srv),
        (65, Kind::Https),
        (255, Kind::Any),
        (16, Kind::Other),
    ];
    for (number, kind) in kinds {
        let mut answer = ASKED;
        answer[26] = number;
        assert_eq!(Kind::of(&answer), kind);
    }
    for (number, code) in CODES.into_iter().enumerate() {
        let mut answer = ASKED;
        answer[3] = 0x80 | u8::try_from(number).unwrap();
        assert_eq!(Code::of(&answer), code);
    }
}

#[test]
fn a_duration_counts_in_its_step_and_in_those_beyond() {
    let counts = Counts::default();

    counts.took(Source::Upstream, Duration::from_millis(1), 1);
    counts.took(Source::Upstream, Duration::from_millis(50), 2);
    counts.took(Source::Upstream, Duration::from_secs(9), 1);

    let latency = counts.latency(Source::Upstream);
    let steps = [(0.001, 1), (0.005, 1), (0.01, 1), (0.1, 3), (1.0, 3), (5.0, 3)];
    assert_eq!(latency.steps, steps);
    assert_eq!(latency.count, 4);
    assert!((latency.sum - 9.101).abs() < 1e-9, "{}", latency.sum);
}

#[test]
fn workers_are_summed_up() {
    let (one, other) = (Counts::default(), Counts::default());
    one.queries.more(3);
    other.queries.add();
    other.in_flight.set(7);
    one.took(Source::Table, Duration::from_micros(3), 2);
    other.took(Source::Table, Duration::from_secs(1), 1);

    let all: Totals = [one.totals(), other.totals()].into_iter().sum();
    assert_eq!((all.queries, all.in_flight), (4, 7));
    let took = Latency::default().with(one.latency(Source::Table));
    let took = took.with(other.latency(Source::Table));
    assert_eq!(
        (took.count, took.steps.first(), took.steps.last().unwrap().1),
        (3, Some(&(5e-6, 2)), 2)
    );
}
