//! The far end is a model: which certificates TLS takes, and what authenticates a call.

use std::time::{Duration, SystemTime};

use super::*;

/// A far end.
#[derive(Clone, Copy)]
struct Far {
    /// Certificates that TLS takes.
    takes: &'static [u64],
    /// Whether a certificate that was taken authenticates calls.
    heeds: bool,
    /// Whether a bad token spoils a good certificate.
    strict: bool,
    /// Tokens that authenticate calls.
    believes: &'static [u64],
}

/// istiod, which believes certificate 1 and token 1.
const ISTIOD: Far = Far { takes: &[1], heeds: true, strict: false, believes: &[1] };
/// A mesh that has another root by now.
const ROTATED: Far = Far { takes: &[], ..ISTIOD };
/// An authority that goes by tokens alone, as istio-csr.
const TOKENS_ONLY: Far = Far { heeds: false, ..ISTIOD };
/// It believes nobody.
const MISTRUSTFUL: Far = Far { believes: &[], heeds: false, ..ISTIOD };

impl Far {
    fn believes(&self, shown: Marks) -> bool {
        let token = shown.token.map(|token| self.believes.contains(&token.mark.0));
        let spoilt = self.strict && token == Some(false);
        (self.heeds && shown.certificate.is_some() && !spoilt) || token == Some(true)
    }
}

fn offer(certificates: &[u64], tokens: &[Slot]) -> Offer {
    let certificates = certificates.iter().copied().map(Mark).collect();
    Offer { certificates, tokens: tokens.to_vec() }
}

fn held(mark: u64, origin: Origin, age: Age) -> Slot {
    Slot::Held { mark: Mark(mark), origin, age }
}

fn file(mark: u64) -> Slot {
    held(mark, Origin::File, Age::Fresh)
}

fn expired(mark: u64) -> Slot {
    held(mark, Origin::File, Age::Stale)
}

fn asked(mark: u64) -> Slot {
    held(mark, Origin::Asked, Age::Fresh)
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

/// What is shown to `far` until it believes something ("ok") or nothing is left ("nothing").
/// Sources that are asked give `answers`, one after the other; tokens that were asked for and
/// refused are asked for again.
fn story(offer: &Offer, memory: &mut Memory, far: Far, answers: &[Slot], now: u64) -> String {
    let (mut offer, mut answers) = (offer.clone(), answers.iter());
    let mut told = Vec::new();
    loop {
        assert!(told.len() < 20, "no end: {told:?}");
        let shown = match offer.next(memory, &[], at(now)) {
            Next::Show(shown) => offer.marks(shown),
            Next::Ask(source) => {
                offer.tokens[source] = answers.next().copied().unwrap_or(Slot::Empty);
                told.push(format!("ask{source}"));
                continue;
            }
            Next::Nothing => {
                memory.forget();
                told.push("nothing".to_owned());
                return told.join(" ");
            }
        };
        let certificate = shown.certificate.map(|mark| format!("c{}", mark.0));
        let token = shown.token.map(|token| format!("t{}", token.mark.0));
        let parts: Vec<String> = certificate.into_iter().chain(token).collect();
        told.push(if parts.is_empty() { "bare".to_owned() } else { parts.join("+") });
        match shown.certificate {
            Some(certificate) if !far.takes.contains(&certificate.0) => {
                memory.rejected(certificate, at(now));
            }
            _ if far.believes(shown) => {
                memory.accepted(shown);
                told.push("ok".to_owned());
                return told.join(" ");
            }
            _ => {
                memory.refused(shown, at(now));
                if let Marks { certificate: None, token: Some(Token { source, origin, .. }) } =
                    shown
                    && origin == Origin::Asked
                {
                    offer.ask_again(source);
                }
            }
        }
    }
}

/// A story with nothing remembered before.
fn fresh_story(certificates: &[u64], tokens: &[Slot], far: Far, answers: &[Slot]) -> String {
    story(&offer(certificates, tokens), &mut Memory::default(), far, answers, 0)
}

/// What it is, certificates, tokens, the far end, and what comes of it.
type Row<'a> = (&'a str, &'a [u64], &'a [Slot], Far, &'a str);

#[test]
fn every_row_of_what_a_machine_may_have_ends_where_it_can() {
    let table: [Row<'_>; 12] = [
        ("first boot: token valid, no certificate", &[], &[file(1)], ISTIOD, "t1 ok"),
        ("token absent, certificate valid", &[1], &[Slot::Empty], ISTIOD, "c1 ok"),
        ("token expired, certificate valid", &[1], &[expired(9)], ISTIOD, "c1 ok"),
        ("token refused by istiod, certificate valid", &[1], &[file(9)], ISTIOD, "c1+t9 ok"),
        ("both valid", &[1], &[file(1)], ISTIOD, "c1+t1 ok"),
        // A certificate that has expired by our clock is not in the offer.
        ("token valid, certificate expired", &[], &[file(1)], ISTIOD, "t1 ok"),
        // The last resort: it may be our clock that is wrong.
        ("token expired by our clock alone", &[], &[expired(1)], ISTIOD, "t1 ok"),
        ("token expired, certificate expired", &[], &[expired(9)], ISTIOD, "t9 nothing"),
        ("token absent, certificate expired", &[], &[Slot::Empty], ISTIOD, "bare nothing"),
        // The dead end of Istio's agent.
        ("token valid, certificate rejected", &[1], &[file(1)], ROTATED, "c1+t1 t1 ok"),
        ("token expired, certificate rejected", &[1], &[expired(9)], ROTATED, "c1 t9 nothing"),
        ("token absent, certificate rejected", &[1], &[Slot::Empty], ROTATED, "c1 nothing"),
    ];
    for (row, certificates, tokens, far, expected) in table {
        assert_eq!(fresh_story(certificates, tokens, far, &[]), expected, "{row}");
    }
}

#[test]
fn a_rejected_certificate_is_followed_by_the_next_with_the_same_company() {
    let second = Far { takes: &[2], ..ISTIOD };
    assert_eq!(fresh_story(&[1, 2], &[file(9)], second, &[]), "c1+t9 c2+t9 ok");
    assert_eq!(fresh_story(&[1, 2], &[], second, &[]), "c1 c2 ok");
    assert_eq!(fresh_story(&[1, 2], &[file(1)], ROTATED, &[]), "c1+t1 c2+t1 t1 ok");
}

#[test]
fn an_authority_that_ignores_certificates_is_shown_tokens_alone_and_is_known() {
    let table: [(&[Slot], &[Slot], &str); 5] = [
        (&[file(1)], &[], "c1+t1 ok"),
        (&[file(9), file(1)], &[], "c1+t9 c1 t9 t1 ok"),
        (&[expired(9)], &[], "c1 t9 nothing"),
        (&[expired(9), Slot::Unasked], &[asked(1)], "c1 ask1 t1 ok"),
        (&[Slot::Empty, Slot::Unasked], &[Slot::Empty], "c1 ask1 nothing"),
    ];
    for (tokens, answers, expected) in table {
        let mut memory = Memory::default();
        let told = story(&offer(&[1], tokens), &mut memory, TOKENS_ONLY, answers, 0);
        assert_eq!(told, expected);
        let by_certificate_alone = told.contains("c1 ");
        assert_eq!(memory.ignores_certificates(), by_certificate_alone, "{expected}");
    }
}

#[test]
fn what_is_known_of_an_authority_outlasts_the_refusals_until_it_is_disproved() {
    let (mut memory, steady) = (Memory::default(), offer(&[1], &[]));
    assert!(memory.refused(steady.marks(alone(0)), at(0)), "found out now");
    assert!(!memory.refused(steady.marks(alone(0)), at(1)), "known before");
    memory.forget();
    assert!(memory.ignores_certificates());

    assert_eq!(story(&steady, &mut memory, ISTIOD, &[], 2), "c1 ok");
    assert!(!memory.ignores_certificates());
}

fn alone(certificate: usize) -> Presentation {
    Presentation { certificate: Some(certificate), token: None }
}

#[test]
fn a_bad_token_beside_a_good_certificate_is_left_out() {
    let strict = Far { strict: true, ..ISTIOD };
    assert_eq!(fresh_story(&[1], &[file(9)], strict, &[]), "c1+t9 c1 ok");
}

#[test]
fn a_refused_token_is_followed_by_the_next_source() {
    let tokens = [file(9), Slot::Empty, file(1)];
    assert_eq!(fresh_story(&[], &tokens, ISTIOD, &[]), "t9 t1 ok");
    assert_eq!(fresh_story(&[], &[expired(9), file(1)], ISTIOD, &[]), "t1 ok");
    assert_eq!(fresh_story(&[], &[expired(1), file(9)], ISTIOD, &[]), "t9 t1 ok");
    let one_by_one = [Slot::Unasked, Slot::Unasked];
    assert_eq!(fresh_story(&[], &one_by_one, ISTIOD, &[Slot::Empty, asked(1)]), "ask0 ask1 t1 ok");
}

#[test]
fn nobody_is_asked_for_a_token_while_a_certificate_does() {
    assert_eq!(fresh_story(&[1], &[Slot::Unasked], ISTIOD, &[asked(1)]), "c1 ok");
    assert_eq!(fresh_story(&[1], &[Slot::Unasked, file(1)], ISTIOD, &[asked(1)]), "c1+t1 ok");
    assert_eq!(fresh_story(&[1], &[asked(1)], ISTIOD, &[]), "c1+t1 ok");
    assert_eq!(fresh_story(&[1], &[Slot::Unasked], ROTATED, &[asked(1)]), "c1 ask0 t1 ok");
}

#[test]
fn a_source_has_a_second_chance_and_no_third() {
    let (kept, new) = ([asked(9)], [asked(1)]);
    assert_eq!(fresh_story(&[], &kept, ISTIOD, &new), "t9 ask0 t1 ok");

    let each_is_new = [asked(6), asked(7), asked(8)];
    let told = fresh_story(&[], &[Slot::Unasked, file(1)], ISTIOD, &each_is_new);
    assert_eq!(told, "ask0 t6 ask0 t7 t1 ok");
    let told = fresh_story(&[], &[Slot::Unasked], ISTIOD, &[asked(6); 9]);
    assert_eq!(told, "ask0 t6 ask0 nothing", "the same one again is no chance");
}

#[test]
fn a_refusal_is_remembered_for_ten_minutes() {
    let (mut memory, both) = (Memory::default(), offer(&[1], &[file(1)]));
    assert_eq!(story(&both, &mut memory, ROTATED, &[], 0), "c1+t1 t1 ok");
    assert_eq!(story(&both, &mut memory, ROTATED, &[], 599), "t1 ok");
    assert_eq!(story(&both, &mut memory, ISTIOD, &[], 600), "c1+t1 ok");
}

#[test]
fn a_clock_that_was_set_back_forgets() {
    let (mut memory, both) = (Memory::default(), offer(&[1], &[file(1)]));
    assert_eq!(story(&both, &mut memory, ROTATED, &[], 86_400), "c1+t1 t1 ok");
    assert_eq!(story(&both, &mut memory, ISTIOD, &[], 0), "c1+t1 ok");
}

#[test]
fn another_certificate_or_token_has_its_own_chance() {
    let mut memory = Memory::default();
    let before = offer(&[8], &[file(1)]);
    assert_eq!(story(&before, &mut memory, ISTIOD, &[], 0), "c8+t1 t1 ok");
    let renewed = offer(&[1], &[file(1)]);
    assert_eq!(story(&renewed, &mut memory, ISTIOD, &[], 1), "c1+t1 ok");

    let mut memory = Memory::default();
    let before = offer(&[], &[file(9), file(1)]);
    assert_eq!(story(&before, &mut memory, ISTIOD, &[], 0), "t9 t1 ok");
    assert_eq!(story(&before, &mut memory, ISTIOD, &[], 1), "t1 ok");
    let replaced = offer(&[], &[file(2), file(1)]);
    let second = Far { believes: &[2], ..ISTIOD };
    assert_eq!(story(&replaced, &mut memory, second, &[], 2), "t2 ok");
}

#[test]
fn a_token_that_was_refused_is_no_company() {
    let mut memory = Memory::default();
    let tokens = [file(9), file(1)];
    assert_eq!(story(&offer(&[], &tokens), &mut memory, ISTIOD, &[], 0), "t9 t1 ok");
    assert_eq!(story(&offer(&[1], &tokens), &mut memory, ISTIOD, &[], 1), "c1+t1 ok");
}

#[test]
fn when_nothing_is_left_all_is_tried_again() {
    let (mut memory, both) = (Memory::default(), offer(&[1], &[file(1)]));
    for second in 0..3 {
        let told = story(&both, &mut memory, MISTRUSTFUL, &[], second);
        assert_eq!(told, "c1+t1 c1 t1 nothing");
    }
    assert_eq!(story(&both, &mut memory, ISTIOD, &[], 3), "c1+t1 ok");
}

#[test]
fn what_is_set_aside_is_not_shown_in_this_attempt() {
    let (memory, both) = (Memory::default(), offer(&[1, 2], &[file(1)]));
    let shown = |aside: &[Mark]| match both.next(&memory, aside, at(0)) {
        Next::Show(shown) => both.marks(shown).certificate,
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(&[]), Some(Mark(1)));
    assert_eq!(shown(&[Mark(1)]), Some(Mark(2)));
    assert_eq!(shown(&[Mark(1), Mark(2)]), None);
}

#[test]
fn memory_does_not_grow_without_bound() {
    let mut memory = Memory::default();
    for mark in 0..1000 {
        memory.rejected(Mark(mark), at(0));
    }
    assert_eq!(memory.refusals.len(), MOST_REFUSALS);
    let last = offer(&[999], &[]);
    assert_eq!(last.next(&memory, &[], at(0)), Next::Nothing);
}

#[test]
fn what_belongs_to_somebody_else_makes_room_for_the_next() {
    let mut memory = Memory::default();
    let both = offer(&[1], &[file(2), file(3)]);
    let mistaken = |memory: &mut Memory, second| match both.next(memory, &[], at(second)) {
        Next::Show(shown) => {
            let shown = both.marks(shown);
            memory.mistaken(shown, at(second));
            (shown.certificate, shown.token.map(|token| token.mark))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(mistaken(&mut memory, 0), (Some(Mark(1)), Some(Mark(2))));
    assert_eq!(mistaken(&mut memory, 1), (None, Some(Mark(2))));
    assert_eq!(mistaken(&mut memory, 2), (None, Some(Mark(3))));
    assert_eq!(both.next(&memory, &[], at(3)), Next::Nothing);
    assert!(!memory.ignores_certificates(), "it has heeded all of it");
}

#[test]
fn a_program_whose_tokens_are_refused_is_left_alone_for_a_while() {
    let (mut memory, one) = (Memory::default(), offer(&[], &[Slot::Unasked]));
    let answers = [asked(7), asked(8), asked(9)];
    let told = story(&one, &mut memory, MISTRUSTFUL, &answers, 0);
    assert!(told.matches("ask0").count() == CHANCES && told.ends_with("nothing"), "{told}");
    memory.forget();
    assert_eq!(one.next(&memory, &[], at(1)), Next::Nothing);
    assert_eq!(one.next(&memory, &[], at(601)), Next::Ask(0));
}
