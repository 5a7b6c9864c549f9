//! What holds for any text.

use hawser_dns::name::Name;
use hawser_dns::resolv;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_a_list_of_resolvers(text in vec(any::<u8>(), 0..400), line in "nameserver \\PC{0,60}") {
        prop_assert!(resolv::parse(&text, |_| None).servers.len() <= 8);
        resolv::parse(line.as_bytes(), |_| Some(1));
    }

    #[test]
    fn any_text_is_a_name_or_not(text in "\\PC{0,300}") {
        if let Some(name) = Name::parse(&text) {
            let (read, given) = (name.to_string(), text.to_lowercase());
            prop_assert_eq!(read.trim_end_matches('.'), given.trim_end_matches('.'));
        }
    }
}
