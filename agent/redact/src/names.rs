//! Names behind which a secret is to be expected: of variables, headers, flags and fields.

/// Whether what is called so is nobody's business. The case, `-` and `_` do not matter, and of a
/// dotted name the last part counts.
pub fn is_secret(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let plain = plain(last);
    if HARMLESS.iter().any(|harmless| plain.contains(harmless)) {
        return false;
    }
    is_header(last)
        || TELLING.iter().any(|telling| plain.contains(telling))
        || is_variable(last) && OF_VARIABLES.iter().any(|telling| last.contains(telling))
        || PREFIXES.iter().any(|prefix| last.starts_with(prefix))
}

/// Whether a header of this name is private: what it says goes to the end of its line.
pub(crate) fn is_header(name: &str) -> bool {
    let plain = plain(name);
    HEADERS.iter().any(|header| plain.contains(header))
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || plain.starts_with('x')
            && (plain.ends_with("token") || plain.contains("auth"))
            && name.contains('-')
}

/// Whether it is written as variables are.
pub(crate) fn is_variable(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase())
        && name.bytes().all(|byte| !byte.is_ascii_lowercase())
}

/// A word of everyday speech, which is followed by a colon for other reasons too.
pub(crate) fn is_word(name: &str) -> bool {
    ["token", "secret"].contains(&name.trim_start_matches('-'))
}

/// In lower case, without what joins words.
pub(crate) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|letter| !matches!(letter, '-' | '_'));
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

const TELLING: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "sessionticketkey",
    "symmetrickey",
    "keytab",
];
/// How they may be part of something that is none.
const HARMLESS: [&str; 9] = [
    "tokenbucket",
    "maxtokens",
    "tokensperfill",
    "tokentype",
    "tokencommand",
    "secretname",
    "secretconfig",
    "secrettypes",
    "secretdiscovery",
];
const OF_VARIABLES: [&str; 7] =
    ["TOKEN", "SECRET", "PASSW", "KEY", "CREDENTIAL", "AUTH", "PRIVATE"];
const HEADERS: [&str; 4] = ["authorization", "cookie", "apikey", "xamzsecurity"];
/// Variables whose values are headers for istiod.
const PREFIXES: [&str; 2] = ["XDS_HEADER_", "CA_HEADER_"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whether_what_they_name_is_to_be_seen() {
        let secret = [
            "TOKEN",
            "MY_TOKEN",
            "ISTIO_META_API_KEY",
            "DB_PASSWORD",
            "db_password",
            "client_secret",
            "clientSecret",
            "--token",
            "access_token",
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "set-cookie",
            "x-api-key",
            "X-Auth-Request",
            "x-vault-token",
            "XDS_HEADER_X_TEAM",
            "CA_HEADER_ANYTHING",
            "private_key",
            "session_ticket_keys",
            "AWS_SECRET_ACCESS_KEY",
            "identity.private_key",
            "x-goog-iam-authorization-token",
            "BASIC_AUTH",
        ];
        for name in secret {
            assert!(is_secret(name), "{name}");
        }
        let plain = [
            "key",
            "name",
            "istiod.address",
            "identity.key",
            "identity.renewal_ratio",
            "node.name",
            "token_bucket",
            "max_tokens",
            "tokens_per_fill",
            "istiod.token_command",
            "secret_name",
            "tls_certificate_sds_secret_configs",
            "resource",
            "author",
            "x",
            "",
            "stat_key",
            "ISTIO_META_NETWORK",
            "runtime_key",
        ];
        for name in plain {
            assert!(!is_secret(name), "{name}");
        }
    }
}
