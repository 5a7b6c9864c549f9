//! What may be an id, and what only looks like one.

use proptest::prelude::*;

use super::*;

#[test]
fn an_id_is_the_sum_of_its_parts() {
    let id = SpiffeId::new("cluster.local", "vms", "billing_2.A-z").unwrap();

    assert_eq!(id.to_string(), "spiffe://cluster.local/ns/vms/sa/billing_2.A-z");
    assert_eq!(
        (id.trust_domain(), id.namespace(), id.service_account()),
        ("cluster.local", "vms", "billing_2.A-z")
    );
    assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
}

#[test]
fn what_is_not_of_istios_form_is_refused() {
    let wrong = [
        "",
        "spiffe://",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td/ns/a/sa",
        "spiffe://td/ns/a/sa/b/",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/ns/a/b/sa/c",
        "spiffe://td/sa/a/ns/b",
        "spiffe://td/NS/a/sa/b",
        "spiffe://td//ns/a/sa/b",
        "SPIFFE://td/ns/a/sa/b",
        "https://td/ns/a/sa/b",
        "td/ns/a/sa/b",
        " spiffe://td/ns/a/sa/b",
    ];
    for text in wrong {
        let error = SpiffeId::parse(text).unwrap_err();

        assert!(matches!(error, Error::IdShape { .. }), "{text:?}: {error}");
    }
}

#[test]
fn parts_that_would_change_the_id_are_refused() {
    let long = "x".repeat(254);
    let longer = "x".repeat(256);
    let any = ["", "a/b", "a b", "a?b", "a#b", "a%2fb", "a:b", "a@b", "ä", "a\n", "a\0", &longer];
    let segment = [".", "..", &long];
    let domain = ["Cluster.local", "user@td", "td:8080", "[::1]"];
    for (part, wrong) in any
        .iter()
        .flat_map(|wrong| [0, 1, 2].map(|part| (part, *wrong)))
        .chain(segment.iter().flat_map(|wrong| [1, 2].map(|part| (part, *wrong))))
        .chain(domain.iter().map(|wrong| (0, *wrong)))
    {
        let mut parts = ["td", "a", "b"];
        parts[part] = wrong;
        let [domain, namespace, account] = parts;

        let error = SpiffeId::new(domain, namespace, account).unwrap_err();

        let named = ["trust domain", "namespace", "service account"][part];
        assert!(error.to_string().starts_with(named), "{wrong:?}: {error}");
        let text = format!("spiffe://{domain}/ns/{namespace}/sa/{account}");
        assert!(SpiffeId::parse(&text).is_err(), "{text}");
    }
}

#[test]
fn the_longest_parts_make_an_id() {
    let id = SpiffeId::new("d".repeat(255), "n".repeat(253), "s".repeat(253)).unwrap();

    assert_eq!(SpiffeId::parse(&id.to_string()).unwrap(), id);
}

#[test]
fn text_beyond_the_limit_is_refused_unread() {
    let text = format!("spiffe://td/ns/a/sa/{}", "x".repeat(ID_LIMIT));

    assert!(matches!(SpiffeId::parse(&text), Err(Error::IdTooLong)));
}

proptest! {
    #[test]
    fn what_is_taken_prints_as_it_was(
        text in "(spiffe://)?([a-zA-Z._-]{0,3}(/ns/|/sa/|/|%|\\.\\.)?){0,6}",
    ) {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn parts_that_are_taken_are_read_back(
        domain in "\\PC{0,8}|[a-z.]{1,8}",
        namespace in "\\PC{0,8}|[a-z.]{1,8}",
        account in "\\PC{0,8}|[a-z.]{1,8}",
    ) {
        if let Ok(id) = SpiffeId::new(domain, namespace, account) {
            prop_assert_eq!(SpiffeId::parse(&id.to_string()).unwrap(), id);
        }
    }
}
