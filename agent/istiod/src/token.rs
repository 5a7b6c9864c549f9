//! What a token says about itself, read without any key.
//!
//! The token proves nothing to us: istiod judges it. It is opened so that an operator hears early,
//! and in words, what istiod would answer later with a status code.

use std::time::{Duration, SystemTime};

use serde_json::Value;

/// What a token claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// Who made it (`iss`).
    pub issuer: Option<String>,
    /// Whom it speaks for (`sub`), as `system:serviceaccount:NAMESPACE:NAME`.
    pub subject: Option<String>,
    /// For whom it is meant (`aud`).
    pub audiences: Vec<String>,
    /// When it stops being accepted (`exp`); never, if it does not say.
    pub expires: Option<SystemTime>,
    /// When it was made (`iat`), if it says.
    pub issued: Option<SystemTime>,
}

impl TokenFacts {
    /// Whether istiod is among those that it is made for.
    pub fn is_for_istiod(&self) -> bool {
        self.audiences.iter().any(|audience| audience == AUDIENCE)
    }
}

/// Why istiod will not take a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message is the documentation")]
pub enum TokenProblem {
    #[error(
        "not a JWT ({what}); expected the istio-token file that \
         `istioctl x workload entry configure` writes"
    )]
    NotJwt { what: &'static str },
    #[error(
        "expired {} ago; write a fresh one with `istioctl x workload entry configure` \
         (its lifetime is --tokenDuration)",
        Span(*ago)
    )]
    Expired { ago: Duration },
    #[error(
        "made for audience {}, not for {AUDIENCE}; \
         make it with `istioctl x workload entry configure`",
        listed(found)
    )]
    Audience { found: Vec<String> },
}

/// Opens a token and looks for reasons why istiod will refuse it at `now`.
pub fn inspect(token: &str, now: SystemTime) -> Result<TokenFacts, TokenProblem> {
    let facts = open(token)?;
    if let Some(ago) = facts.expires.and_then(|expires| now.duration_since(expires).ok()) {
        return Err(TokenProblem::Expired { ago });
    }
    if !facts.is_for_istiod() {
        return Err(TokenProblem::Audience { found: facts.audiences });
    }
    Ok(facts)
}

/// Opens a token, whoever it is for and however old it is.
pub fn open(token: &str) -> Result<TokenFacts, TokenProblem> {
    let wrong = |what| TokenProblem::NotJwt { what };
    let token = token.trim();
    if token.is_empty() {
        return Err(wrong("it is empty"));
    }
    if token.len() > LONGEST {
        return Err(wrong("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong("it has not three parts"));
    };
    object(header).ok_or_else(|| wrong("its first part is not base64url of JSON"))?;
    let claims = object(claims).ok_or_else(|| wrong("its second part is not base64url of JSON"))?;
    let text = |name| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let audiences = match claims.get("aud") {
        Some(Value::String(audience)) => vec![audience.clone()],
        Some(Value::Array(all)) => {
            all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    let expires = match claims.get("exp") {
        None | Some(Value::Null) => None,
        Some(exp) => Some(instant(exp).ok_or_else(|| wrong("its exp is not a time"))?),
    };
    let issued = claims.get("iat").and_then(instant);
    Ok(TokenFacts { issuer: text("iss"), subject: text("sub"), audiences, expires, issued })
}

/// A NumericDate (RFC 7519 §2): seconds since 1970, possibly with a fraction, which is dropped.
fn instant(exp: &Value) -> Option<SystemTime> {
    let seconds = exp.as_u64().or_else(|| {
        let seconds = exp.as_f64().filter(|seconds| (0.0..1e12).contains(seconds))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in range, and the fraction is not wanted"
        )]
        Some(seconds as u64)
    })?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn object(part: &str) -> Option<serde_json::Map<String, Value>> {
    match serde_json::from_slice(&base64url(part)?).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Base64 with the URL alphabet (RFC 4648 §5); padding is allowed, JWTs have none.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for symbol in group {
            let value = match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a' + 26,
                b'0'..=b'9' => symbol - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let [_, high, middle, low] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        match group.len() {
            4 => bytes.extend([high, middle, low]),
            3 => bytes.extend([high, middle]),
            2 => bytes.push(high),
            _ => return None,
        }
    }
    Some(bytes)
}

pub(crate) fn listed(audiences: &[String]) -> String {
    if audiences.is_empty() { "none".to_owned() } else { audiences.join(", ") }
}

/// A duration in the one unit that a human would use.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub Duration);

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7_200 => write!(f, "{} min", seconds / 60),
            seconds @ 7_200..172_800 => write!(f, "{} h", seconds / 3_600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

/// What istiod's token review asks for.
pub(crate) const AUDIENCE: &str = "istio-ca";
const LONGEST: usize = 64 << 10;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn encode(text: &str) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut encoded = String::new();
        for group in text.as_bytes().chunks(3) {
            let mut padded = [0; 4];
            padded[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(padded);
            for index in 0..=group.len() {
                let symbol = (bits >> (18 - 6 * index)) & 63;
                encoded.push(ALPHABET[symbol as usize].into());
            }
        }
        encoded
    }

    pub(crate) fn jwt(claims: &str) -> String {
        format!("{}.{}.c2ln", encode(r#"{"alg":"RS256"}"#), encode(claims))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_good_token_tells_whom_it_speaks_for() {
        let token = jwt(
            r#"{"iss":"https://kubernetes.default","sub":"system:serviceaccount:vms:vm","aud":["istio-ca"],"exp":2000}"#,
        );
        let facts = inspect(&format!(" {token}\n"), at(1999)).unwrap();
        assert_eq!(facts.issuer.as_deref(), Some("https://kubernetes.default"));
        assert_eq!(facts.subject.as_deref(), Some("system:serviceaccount:vms:vm"));
        assert_eq!(facts.audiences, ["istio-ca"]);
        assert_eq!(facts.expires, Some(at(2000)));
    }

    #[test]
    fn the_audience_may_be_one_text_and_the_expiry_a_fraction_or_missing() {
        let facts = inspect(&jwt(r#"{"aud":"istio-ca","exp":2000.9}"#), at(0)).unwrap();
        assert_eq!(facts.expires, Some(at(2000)));
        assert_eq!(inspect(&jwt(r#"{"aud":"istio-ca"}"#), at(0)).unwrap().expires, None);
    }

    #[test]
    fn expiry_and_audience_are_separate_problems_with_a_remedy() {
        let expired = inspect(&jwt(r#"{"aud":"istio-ca","exp":1000}"#), at(1000 + 3 * 3600));
        assert_eq!(expired, Err(TokenProblem::Expired { ago: Duration::from_secs(10_800) }));
        let text = expired.unwrap_err().to_string();
        assert!(text.starts_with("expired 3 h ago; write a fresh one"), "{text}");

        let other = inspect(&jwt(r#"{"aud":["vault","x"],"exp":1000}"#), at(1)).unwrap_err();
        assert!(other.to_string().starts_with("made for audience vault, x, not for istio-ca"));
        let none = inspect(&jwt("{}"), at(1)).unwrap_err();
        assert!(none.to_string().starts_with("made for audience none"));
    }

    #[test]
    fn what_is_no_jwt_is_told_apart() {
        let table = [
            ("", "it is empty"),
            ("  \n", "it is empty"),
            ("abc", "it has not three parts"),
            ("a.b", "it has not three parts"),
            ("a.b.c.d", "it has not three parts"),
            ("!!.e30.x", "its first part"),
            ("e30.a.x", "its second part"),
            ("e30.W10.x", "its second part"),
            ("e30.bm8.x", "its second part"),
        ];
        for (token, expected) in table {
            let text = inspect(token, at(0)).unwrap_err().to_string();
            assert!(text.contains(expected), "{token:?}: {text}");
        }
        for exp in ["-1", "\"soon\"", "1e300", "true"] {
            let token = jwt(&format!(r#"{{"aud":"istio-ca","exp":{exp}}}"#));
            assert!(inspect(&token, at(0)).unwrap_err().to_string().contains("exp"), "{exp}");
        }
        assert!(inspect(&"a".repeat(70_000), at(0)).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn base64url_round_trips_every_length_and_refuses_the_rest() {
        for text in ["", "f", "fo", "foo", "foob", "fooba", "foobar", "\u{ff}\u{fe}?~"] {
            assert_eq!(base64url(&encode(text)).unwrap(), text.as_bytes());
        }
        assert_eq!(base64url("Zg==").unwrap(), b"f");
        for text in ["a", "a+b/", "ab c", "aaaaa"] {
            assert_eq!(base64url(text), None, "{text}");
        }
    }
}
