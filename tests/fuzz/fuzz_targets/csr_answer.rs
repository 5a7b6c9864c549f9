//! An authority's answer of any content: what does not fit is refused, and never taken.
//!
//! ```text
//! now 4 | (length 2, element)*      the time in seconds, then the chain, the roots last
//! ```

#![no_main]

use std::time::{Duration, SystemTime};

use hawser_fuzz::{ID, assert_issued, key, pieces, text};
use hawser_identity::{Error, Wanted};
use hawser_pki::SpiffeId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((now, rest)) = bytes.split_first_chunk::<4>() else { return };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u32::from_be_bytes(*now).into());
    let answer: Vec<String> = pieces(rest).map(|piece| text("CERTIFICATE", piece)).collect();

    let id = SpiffeId::parse(ID).expect("an id");
    let wanted = Wanted { ca: "istiod".to_owned(), id: &id, ttl: DAY };
    let identity = match wanted.fitting(key(), &answer) {
        Ok(identity) => identity,
        Err(error) => {
            let short = answer.len() < 2;
            assert_eq!(matches!(error, Error::ShortAnswer { .. }), short);
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_issued(&identity);

    let other = identity.spiffe_id() != Some(&id);
    let (early, late) = (now < identity.not_before(), now > identity.not_after());
    match wanted.check(&identity, now) {
        Ok(()) => assert!(!other && !early && !late),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            match error {
                Error::OtherIdentity { .. } => assert!(other),
                Error::NotYetValid { .. } => assert!(early && !other),
                Error::AlreadyExpired { .. } => assert!(late && !other),
                error => panic!("{error}"),
            }
        }
    }
});

const DAY: Duration = Duration::from_secs(24 * 3600);
