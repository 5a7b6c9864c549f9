//! The headers that every call carries.

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use zeroize::Zeroizing;

use crate::Error;

/// The configured headers as metadata; gRPC knows lower-case names only.
pub(crate) fn headers(given: &[(String, String)]) -> Result<MetadataMap, Error> {
    let mut headers = MetadataMap::new();
    for (name, value) in given {
        let wrong = || Error::Header { name: name.clone() };
        let key: AsciiMetadataKey = name.to_ascii_lowercase().parse().ok().ok_or_else(wrong)?;
        let value: AsciiMetadataValue = value.parse().ok().ok_or_else(wrong)?;
        headers.append(key, value);
    }
    Ok(headers)
}

/// The `authorization` value of a token.
pub(crate) fn bearer(token: &str) -> Option<AsciiMetadataValue> {
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value: AsciiMetadataValue = text.parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_lowered_and_bad_ones_refused() {
        let given = [("ClusterID".to_owned(), "Kubernetes".to_owned())];
        assert_eq!(headers(&given).unwrap().get("clusterid").unwrap(), "Kubernetes");

        for (name, value) in [("a b", "x"), ("", "x"), ("data-bin", "x"), ("ok", "a\nb")] {
            let error = headers(&[(name.to_owned(), value.to_owned())]).unwrap_err();
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let value = bearer("a.b.c").unwrap();
        assert_eq!(value, "Bearer a.b.c");
        assert!(!format!("{value:?}").contains("a.b.c"));
    }
}
