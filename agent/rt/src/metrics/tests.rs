//! What a scraper reads.

use super::*;

#[test]
fn a_counter_is_shown_from_the_start_under_its_own_name() {
    let registry = Registry::default();

    let asked = registry.counter("num_outgoing_requests", "Requests.", &[("request_type", "csr")]);
    assert_eq!(
        registry.render(),
        "# HELP num_outgoing_requests Requests.\n\
         # TYPE num_outgoing_requests counter\n\
         num_outgoing_requests{request_type=\"csr\"} 0\n"
    );

    asked.increment();
    asked.add(41);
    assert_eq!(asked.value(), 42);
    assert!(registry.render().ends_with("{request_type=\"csr\"} 42\n"));
}

#[test]
fn the_same_name_and_labels_are_the_same_metric() {
    let registry = Registry::default();
    let labels = [("a", "1"), ("b", "2")];
    let turned = [("b", "2"), ("a", "1")];

    let clone = registry.clone();
    registry.counter("asked", "Asked.", &labels).increment();
    clone.counter("asked", "Said otherwise.", &turned).increment();
    registry.counter("asked", "Asked.", &[("a", "1")]).increment();
    registry.gauge("left", "Left.", &labels).set(1.0);
    assert_eq!(registry.gauge("left", "Left.", &turned).value(), Some(1.0));

    assert_eq!(
        registry.render(),
        "# HELP asked Asked.\n# TYPE asked counter\n\
         asked{a=\"1\",b=\"2\"} 2\nasked{a=\"1\"} 1\n\
         # HELP left Left.\n# TYPE left gauge\nleft{a=\"1\",b=\"2\"} 1\n"
    );
}

#[test]
fn a_gauge_is_absent_until_it_is_known_and_when_it_is_not_any_more() {
    let registry = Registry::default();
    let left = registry.gauge("expiry_seconds", "Left.", &[]);
    assert_eq!(registry.render(), "", "no heading either");

    left.set(-2.5);
    assert_eq!(
        registry.render(),
        "# HELP expiry_seconds Left.\n# TYPE expiry_seconds gauge\nexpiry_seconds -2.5\n"
    );

    left.unset();
    assert_eq!((registry.render().as_str(), left.value()), ("", None));
}

#[test]
fn a_heading_goes_with_the_first_that_is_known() {
    let registry = Registry::default();
    registry.gauge("left", "Left.", &[("of", "a")]);
    registry.gauge("left", "Left.", &[("of", "b")]).set(1.0);
    registry.gauge("left", "Left.", &[("of", "c")]).set(2.0);

    assert_eq!(
        registry.render(),
        "# HELP left Left.\n# TYPE left gauge\nleft{of=\"b\"} 1\nleft{of=\"c\"} 2\n"
    );
}

#[test]
fn what_is_computed_is_asked_for_at_each_reading() {
    let registry = Registry::default();
    let source = Gauge::default();
    let seen = source.clone();
    registry.computed("left", "Left.", &[("resource_name", "default")], move || seen.value());
    assert_eq!(registry.render(), "");

    for value in [3.0, 2.0] {
        source.set(value);
        assert!(
            registry.render().ends_with(&format!("left{{resource_name=\"default\"}} {value}\n"))
        );
    }

    registry.computed("left", "Left.", &[("resource_name", "default")], || Some(7.0));
    assert!(registry.render().ends_with(" 7\n"), "the later one counts");
}

#[test]
fn what_is_computed_may_use_the_registry() {
    let registry = Registry::default();
    let inner = registry.clone();
    registry.computed("left", "Left.", &[], move || {
        inner.counter("readings", "Readings.", &[]).increment();
        Some(1.0)
    });

    registry.render();
    registry.render();

    assert_eq!(registry.counter("readings", "Readings.", &[]).value(), 2);
}

#[test]
fn numbers_that_are_counted_elsewhere_are_read_with_the_labels_of_the_moment() {
    let registry = Registry::default();
    let asked = Counter::default();
    let seen = asked.clone();
    registry.read("answers_total", "Answers.", Kind::Counter, move || {
        let name = |n: u64| vec![("source", format!("s{n}"))];
        #[expect(clippy::cast_precision_loss, reason = "small")]
        (0..seen.value()).map(|n| Sample { labels: name(n), value: n as f64 }).collect()
    });
    assert_eq!(registry.render(), "");

    asked.add(2);
    assert_eq!(
        registry.render(),
        "# HELP answers_total Answers.\n# TYPE answers_total counter\n\
         answers_total{source=\"s0\"} 0\nanswers_total{source=\"s1\"} 1\n"
    );
}

#[test]
fn a_histogram_is_read_step_by_step() {
    let registry = Registry::default();
    let spread = || Histogram { steps: vec![(0.001, 3), (0.5, 4)], count: 5, sum: 7.25 };
    registry.histogram("plain", "Plain.", &[], spread);
    registry.histogram("took", "Took.", &[("of", "a")], spread);

    assert_eq!(
        registry.render(),
        "# HELP plain Plain.\n# TYPE plain histogram\n\
         plain_bucket{le=\"0.001\"} 3\nplain_bucket{le=\"0.5\"} 4\nplain_bucket{le=\"+Inf\"} 5\n\
         plain_sum 7.25\nplain_count 5\n\
         # HELP took Took.\n# TYPE took histogram\n\
         took_bucket{of=\"a\",le=\"0.001\"} 3\ntook_bucket{of=\"a\",le=\"0.5\"} 4\n\
         took_bucket{of=\"a\",le=\"+Inf\"} 5\ntook_sum{of=\"a\"} 7.25\ntook_count{of=\"a\"} 5\n"
    );
}

#[test]
fn names_and_labels_are_in_a_stable_order() {
    let registry = Registry::default();
    for (name, label) in [("b", "2"), ("a", "1"), ("b", "1"), ("a:c", "0"), ("a", "0")] {
        registry.counter(name, "Help.", &[("x", label)]);
    }

    let text = registry.render();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();

    let sorted =
        [r#"a{x="0"} 0"#, r#"a{x="1"} 0"#, r#"a:c{x="0"} 0"#, r#"b{x="1"} 0"#, r#"b{x="2"} 0"#];
    assert_eq!(lines, sorted);
}

#[test]
fn what_would_break_the_text_is_escaped() {
    let registry = Registry::default();
    registry.counter("asked", "One \\ two\n\"three\".", &[("why", "a \\ b\n\"c\" {é}")]);
    registry.counter("an odd\nname 1", "Odd.", &[("an odd=label", "")]);

    assert_eq!(
        registry.render(),
        "# HELP an_odd_name_1 Odd.\n\
         # TYPE an_odd_name_1 counter\n\
         an_odd_name_1{an_odd_label=\"\"} 0\n\
         # HELP asked One \\\\ two\\n\"three\".\n\
         # TYPE asked counter\n\
         asked{why=\"a \\\\ b\\n\\\"c\\\" {é}\"} 0\n"
    );
}

#[test]
fn numbers_are_spelled_as_a_scraper_reads_them() {
    let cases = [
        (0.0, "0"),
        (-0.5, "-0.5"),
        (1e21, "1000000000000000000000"),
        (86_400.25, "86400.25"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ];
    for (value, text) in cases {
        assert_eq!(number(value), text);
    }
}

#[test]
fn a_name_has_one_kind() {
    let registry = Registry::default();
    registry.counter("asked", "Asked.", &[]).increment();

    let other = registry.gauge("asked", "Asked.", &[("a", "1")]);
    other.set(7.0);
    registry.computed("asked", "Asked.", &[], || Some(9.0));

    assert_eq!(registry.render(), "# HELP asked Asked.\n# TYPE asked counter\nasked 1\n");
    assert_eq!(other.value(), Some(7.0), "it works all the same");
}

#[test]
fn no_count_is_lost_between_threads() {
    let registry = Registry::default();

    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    registry.counter("asked", "Asked.", &[]).increment();
                }
            });
        }
    });

    assert_eq!(registry.counter("asked", "Asked.", &[]).value(), 4000);
}
