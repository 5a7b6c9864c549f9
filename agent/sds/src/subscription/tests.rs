//! The core by tables: who is told what, and when.

use super::*;

/// Names with their versions; `Some(None)` is owned and not there yet.
struct Shelf(Vec<(&'static str, Option<&'static str>)>);

impl Stock for Shelf {
    fn find(&self, name: &str) -> Found<'_> {
        match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, Some(version))) => Found::Version(version),
            Some((_, None)) => Found::NotYet,
            None => Found::Never,
        }
    }
}

fn shelf(default: &'static str, rootca: &'static str) -> Shelf {
    Shelf(vec![("default", Some(default)), ("ROOTCA", Some(rootca))])
}

fn empty() -> Shelf {
    Shelf(vec![("default", None), ("ROOTCA", None)])
}

fn list(names: &str) -> Vec<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

fn whole(names: &str, nonce: &str) -> Whole {
    Whole { names: list(names), nonce: nonce.to_owned(), rejects: false }
}

fn change(subscribe: &str, unsubscribe: &str, nonce: &str) -> Change {
    Change {
        subscribe: list(subscribe),
        unsubscribe: list(unsubscribe),
        nonce: nonce.to_owned(),
        ..Change::default()
    }
}

fn told(heard: Heard, answer: Option<Answer>) -> Reaction {
    Reaction { heard, unknown: Vec::new(), answer }
}

fn sent(names: &str, nonce: &str) -> Option<Answer> {
    Some(Answer { names: list(names), gone: Vec::new(), nonce: nonce.to_owned() })
}

#[test]
fn a_state_of_the_world_stream_step_by_step() {
    let mut stream = Subscription::new(7);
    let steps = [
        (whole("default", ""), Heard::Subscription, sent("default", "7-1")),
        (whole("default", "7-1"), Heard::Acceptance, None),
        (whole("default ROOTCA", "7-1"), Heard::Subscription, sent("ROOTCA", "7-2")),
        (whole("default", "7-1"), Heard::Stale, None),
        (whole("default ROOTCA", "7-2"), Heard::Acceptance, None),
        (Whole { rejects: true, ..whole("default ROOTCA", "7-2") }, Heard::Rejection, None),
        (whole("ROOTCA", "7-2"), Heard::Acceptance, None),
        (whole("default ROOTCA", ""), Heard::Subscription, sent("ROOTCA default", "7-3")),
        (whole("", "7-3"), Heard::Subscription, None),
        (whole("default", "7-3"), Heard::Subscription, sent("default", "7-4")),
    ];
    for (index, (request, heard, answer)) in steps.into_iter().enumerate() {
        let reaction = stream.whole(request, &shelf("a", "r")).unwrap();
        assert_eq!(reaction, told(heard, answer), "step {index}");
    }
}

#[test]
fn a_delta_stream_step_by_step() {
    let mut stream = Subscription::new(7);
    let rejecting = Change { rejects: true, ..change("ROOTCA", "", "7-2") };
    let steps = [
        (change("default", "", ""), Heard::Subscription, sent("default", "7-1")),
        (change("", "", "7-1"), Heard::Acceptance, None),
        (change("default", "", ""), Heard::Subscription, sent("default", "7-2")),
        (rejecting, Heard::Rejection, sent("ROOTCA", "7-3")),
        (change("", "default", ""), Heard::Subscription, None),
        (change("default", "", "7-3"), Heard::Acceptance, sent("default", "7-4")),
    ];
    for (index, (request, heard, answer)) in steps.into_iter().enumerate() {
        let reaction = stream.change(request, &shelf("a", "r")).unwrap();
        assert_eq!(reaction, told(heard, answer), "step {index}");
    }
}

#[test]
fn only_what_has_changed_is_pushed_and_only_to_those_who_want_it() {
    let mut stream = Subscription::new(1);
    stream.whole(whole("default ROOTCA", ""), &shelf("a", "r")).unwrap();
    assert_eq!(stream.changed(&shelf("a", "r")), None);
    assert_eq!(stream.changed(&shelf("b", "r")), sent("default", "1-2"));
    assert_eq!(stream.changed(&shelf("b", "r")), None);
    assert_eq!(stream.changed(&shelf("c", "s")), sent("ROOTCA default", "1-3"));

    stream.whole(whole("ROOTCA", "1-3"), &shelf("c", "s")).unwrap();
    assert_eq!(stream.changed(&shelf("d", "s")), None);
}

#[test]
fn a_rejected_version_is_not_sent_again_and_the_next_one_is() {
    let mut stream = Subscription::new(1);
    stream.whole(whole("default", ""), &shelf("a", "r")).unwrap();
    let rejects = Whole { rejects: true, ..whole("default", "1-1") };
    stream.whole(rejects, &shelf("a", "r")).unwrap();
    assert_eq!(stream.changed(&shelf("a", "r")), None);
    assert_eq!(stream.changed(&shelf("b", "r")), sent("default", "1-2"));
}

#[test]
fn a_rejection_as_the_first_word_subscribes() {
    let mut stream = Subscription::new(1);
    let rejects = Whole { rejects: true, ..whole("default", "0-9") };
    let reaction = stream.whole(rejects, &shelf("a", "r")).unwrap();
    assert_eq!(reaction, told(Heard::Rejection, sent("default", "1-1")));
}

#[test]
fn a_nonce_from_an_earlier_stream_begins_anew() {
    let mut stream = Subscription::new(2);
    let reaction = stream.whole(whole("default", "1-5"), &shelf("a", "r")).unwrap();
    assert_eq!(reaction.answer, sent("default", "2-1"));
}

#[test]
fn who_asks_before_there_is_anything_waits_and_is_then_told() {
    let mut stream = Subscription::new(1);
    let reaction = stream.whole(whole("default", ""), &empty()).unwrap();
    assert_eq!(reaction, told(Heard::Subscription, None));
    let reaction = stream.whole(whole("default ROOTCA", ""), &empty()).unwrap();
    assert_eq!(reaction.answer, None);
    assert_eq!(stream.changed(&empty()), None);
    assert_eq!(stream.changed(&shelf("a", "r")), sent("ROOTCA default", "1-1"));

    let mut stream = Subscription::new(2);
    assert_eq!(stream.change(change("default", "", ""), &empty()).unwrap().answer, None);
    assert_eq!(stream.changed(&shelf("a", "r")), sent("default", "2-1"));
}

#[test]
fn what_was_sent_stays_sent_when_the_stock_goes_away() {
    let mut stream = Subscription::new(1);
    stream.whole(whole("default", ""), &shelf("a", "r")).unwrap();
    assert_eq!(stream.changed(&empty()), None);
    assert_eq!(stream.changed(&shelf("a", "r")), None);
}

#[test]
fn a_returning_delta_client_is_not_sent_what_it_holds() {
    let mut stream = Subscription::new(1);
    let known = [("default", "a"), ("ROOTCA", "old")];
    let known = known.map(|(name, version)| (name.to_owned(), version.to_owned()));
    let request = Change { known: known.into(), ..change("default ROOTCA", "", "") };
    let reaction = stream.change(request, &shelf("a", "r")).unwrap();
    assert_eq!(reaction.answer, sent("ROOTCA", "1-1"));
    assert_eq!(stream.changed(&shelf("a", "r")), None);
    assert_eq!(stream.changed(&shelf("b", "r")), sent("default", "1-2"));
}

#[test]
fn a_name_that_is_not_served_is_told_apart_from_one_to_wait_for() {
    let mut stream = Subscription::new(1);
    let reaction = stream.change(change("default kubernetes://x", "", ""), &empty()).unwrap();
    let gone = Answer { names: Vec::new(), gone: list("kubernetes://x"), nonce: "1-1".to_owned() };
    assert_eq!((reaction.unknown, reaction.answer), (list("kubernetes://x"), Some(gone)));
    assert_eq!(stream.changed(&shelf("a", "r")), sent("default", "1-2"));
}

#[test]
fn in_state_of_the_world_a_name_that_is_not_served_is_left_out() {
    let mut stream = Subscription::new(1);
    let reaction = stream.whole(whole("default kubernetes://x", ""), &shelf("a", "r")).unwrap();
    assert_eq!(
        (reaction.unknown, reaction.answer),
        (list("kubernetes://x"), sent("default", "1-1"))
    );

    let reaction = stream.whole(whole("default x y", "1-1"), &shelf("a", "r")).unwrap();
    assert_eq!((reaction.unknown, reaction.answer), (list("x y"), None));
    let reaction = stream.whole(whole("default ROOTCA", "1-1"), &shelf("a", "r")).unwrap();
    assert_eq!(reaction.answer, sent("ROOTCA", "1-2"), "what was not sent is not waited for");
}

#[test]
fn in_state_of_the_world_who_wants_nothing_else_is_refused() {
    let foreign = |names| Err(Refusal::Foreign(list(names)));
    let mut stream = Subscription::new(1);
    assert_eq!(stream.whole(whole("x y", ""), &shelf("a", "r")), foreign("x y"));

    let mut stream = Subscription::new(1);
    stream.whole(whole("default x", ""), &shelf("a", "r")).unwrap();
    assert_eq!(stream.whole(whole("x", "1-1"), &shelf("a", "r")), foreign("x"));

    // What is only not there yet is waited for.
    let mut stream = Subscription::new(1);
    let reaction = stream.whole(whole("default x", ""), &empty()).unwrap();
    assert_eq!((reaction.unknown, reaction.answer), (list("x"), None));
    let refused = Subscription::new(1).change(change("x", "", ""), &empty()).unwrap();
    assert_eq!(refused.answer.unwrap().gone, list("x"), "in delta there is a word for it");
}

#[test]
fn what_is_wanted_is_what_was_asked_for_last() {
    let wanted = |stream: &Subscription| stream.wanted().map(str::to_owned).collect::<Vec<_>>();
    let mut stream = Subscription::new(1);
    stream.whole(whole("default ROOTCA", ""), &empty()).unwrap();
    stream.whole(whole("default", ""), &empty()).unwrap();
    assert_eq!(wanted(&stream), ["default"]);
    stream.whole(whole("", ""), &empty()).unwrap();
    assert!(wanted(&stream).is_empty());

    let mut stream = Subscription::new(2);
    stream.change(change("default ROOTCA", "", ""), &empty()).unwrap();
    stream.change(change("", "default", ""), &empty()).unwrap();
    assert_eq!(wanted(&stream), ["ROOTCA"]);
}

#[test]
fn a_stream_cannot_ask_for_any_number_of_names() {
    let name = |index: usize| format!("n{index}");
    let many = |count| (0..count).map(name).collect::<Vec<_>>();
    let mut stream = Subscription::new(1);
    let request = Whole { names: many(129), ..Whole::default() };
    assert_eq!(stream.whole(request, &empty()), Err(Refusal::TooMuch));
    let long = Whole { names: vec!["n".repeat(8193)], ..Whole::default() };
    assert_eq!(stream.whole(long, &empty()), Err(Refusal::TooMuch));

    stream.change(Change { subscribe: many(128), ..Change::default() }, &empty()).unwrap();
    assert_eq!(stream.change(change("more", "", ""), &empty()), Err(Refusal::TooMuch));
}
