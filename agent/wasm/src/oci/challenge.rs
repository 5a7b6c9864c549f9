//! What a registry asks of whoever it does not know: `WWW-Authenticate`.
//!
//! What it says the token is to be good for is not read: a registry could have itself given a
//! token for more than the image that it was asked for.

/// How to prove who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// With the password itself.
    Basic,
    /// With a token that is given out elsewhere.
    Bearer {
        /// Where.
        realm: String,
        /// For whom it is, if that is said.
        service: Option<String>,
    },
}

impl Challenge {
    /// Reads a header; the first of its challenges that is understood, a token before a password.
    pub fn read(header: &str) -> Option<Self> {
        let mut rest = header;
        let mut basic = false;
        while !rest.trim_start_matches([' ', ',']).is_empty() {
            let (scheme, after) = word(rest.trim_start_matches([' ', ',']))?;
            let (parameters, after) = parameters(after);
            rest = after;
            if scheme.eq_ignore_ascii_case("basic") {
                basic = true;
            } else if scheme.eq_ignore_ascii_case("bearer") {
                let value = |wanted: &str| {
                    let named =
                        parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
                    named.map(|(_, value)| value.clone())
                };
                if let Some(realm) = value("realm") {
                    return Some(Self::Bearer { realm, service: value("service") });
                }
            }
        }
        basic.then_some(Self::Basic)
    }
}

/// `NAME=VALUE, NAME="VALUE"` as far as it goes, and what comes after it.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let start = rest.trim_start_matches([' ', ',']);
        let Some((name, after)) = word(start) else { return (found, rest) };
        // A word without a value is the next challenge.
        let Some(after) = after.trim_start().strip_prefix('=') else { return (found, rest) };
        let Some((value, after)) = quoted(after.trim_start()) else { return (found, "") };
        found.push((name.to_owned(), value));
        rest = after;
    }
}

/// A word and what comes after it.
fn word(text: &str) -> Option<(&str, &str)> {
    let ends = text.find([' ', '=', ',', '"', '\t']);
    let (word, rest) = text.split_at_checked(ends.unwrap_or(text.len()))?;
    (!word.is_empty()).then_some((word, rest))
}

/// A value, quoted or not, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let Some(inside) = text.strip_prefix('"') else {
        return word(text).map(|(word, rest)| (word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Some((value, letters.as_str())),
            '\\' => value.push(letters.next()?),
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn challenges_are_read_in_every_spelling() {
        let cases = [
            (
                r#"Bearer realm="https://a/t",service="r",scope="repository:x:pull,push""#,
                Some(bearer("https://a/t", Some("r"))),
            ),
            (r#"bearer Realm = "https://a/t" , x=y"#, Some(bearer("https://a/t", None))),
            (r#"Basic realm="x", Bearer realm="t""#, Some(bearer("t", None))),
            (r#"Basic realm="a\"b""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Negotiate, Basic realm=x", Some(Challenge::Basic)),
            (r#"Bearer service="r""#, None),
            (r#"Bearer realm="open"#, None),
            ("Negotiate", None),
            ("", None),
            ("=,=\"", None),
        ];
        for (header, challenge) in cases {
            assert_eq!(Challenge::read(header), challenge, "{header}");
        }
    }
}
