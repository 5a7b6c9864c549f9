//! Which forms a source is asked for, by what whoever scrapes accepts.
//!
//! No source is asked for a form that cannot be put together with those of others: what is not text
//! or OpenMetrics is left out.

use super::Kind;

/// The `Accept` for a source, from that of whoever scrapes.
pub fn accept(said: Option<&str>, of: Kind) -> String {
    let mut wanted: Vec<(f32, String)> =
        items(said.unwrap_or_default()).filter_map(|item| wanted(item, of)).take(MOST).collect();
    // Stable: of what is wanted as much, what was named first comes first.
    wanted.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut text = String::new();
    for (rank, (_, kind)) in wanted.into_iter().enumerate() {
        if text.contains(&format!("{kind};q=")) {
            continue;
        }
        let comma = if text.is_empty() { "" } else { "," };
        text.push_str(&format!("{comma}{kind};q=0.{}", MOST - rank));
    }
    if text.is_empty() { PLAIN.to_owned() } else { text }
}

/// Only the text form, where somebody else does not have the other.
pub(crate) const PLAIN: &str = "text/plain;version=0.0.4";

/// What is between commas that are not quoted.
fn items(said: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    said.split(move |symbol| {
        quoted ^= symbol == '"';
        symbol == ',' && !quoted
    })
}

/// One of the list, with how much it is wanted; none if it cannot be.
fn wanted(item: &str, of: Kind) -> Option<(f32, String)> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let mut kind = match name.as_str() {
        "*/*" => PLAIN.to_owned(),
        "application/*" if of == Kind::Application => DRAFT.to_owned(),
        "application/openmetrics-text" if of == Kind::Application => name,
        "text/plain" | "text/*" => name,
        _ => return None,
    };
    let mut much = 1.0;
    for part in parts {
        match part.split_once('=') {
            Some(("q" | "Q", value)) => much = value.trim().parse().ok()?,
            Some(_) if kind == PLAIN || kind == DRAFT => {}
            Some((key, value)) => kind.push_str(&format!(";{}={}", key.trim(), value.trim())),
            None => return None,
        }
    }
    (much > 0.0 && much <= 1.0).then_some((much, kind))
}

const DRAFT: &str = "application/openmetrics-text;version=0.0.1";
/// Of what is accepted, so many are looked at; each has a digit.
const MOST: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    const PROMETHEUS: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.\
        MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;\
        escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    #[test]
    fn a_source_is_asked_for_what_can_be_put_together() {
        let open = "application/openmetrics-text";
        let table = [
            (
                Some(PROMETHEUS),
                format!(
                    "{open};version=1.0.0;escaping=allow-utf-8;q=0.9,{open};version=0.0.1;q=0.8,\
                     {PLAIN};q=0.7"
                ),
                format!("{PLAIN};q=0.9"),
            ),
            (None, PLAIN.to_owned(), PLAIN.to_owned()),
            (Some(""), PLAIN.to_owned(), PLAIN.to_owned()),
            (Some("image/png"), PLAIN.to_owned(), PLAIN.to_owned()),
            (Some("*/*"), format!("{PLAIN};q=0.9"), format!("{PLAIN};q=0.9")),
            (Some("application/*"), format!("{DRAFT};q=0.9"), PLAIN.to_owned()),
            (
                Some("text/*;q=0.1, application/openmetrics-text"),
                format!("{open};q=0.9,text/*;q=0.8"),
                "text/*;q=0.9".to_owned(),
            ),
            (Some("text/plain;q=0"), PLAIN.to_owned(), PLAIN.to_owned()),
            (Some("text/plain;q=nan;x"), PLAIN.to_owned(), PLAIN.to_owned()),
            (
                Some("text/plain;charset=\"a,b\";q=0.5"),
                "text/plain;charset=\"a,b\";q=0.9".to_owned(),
                "text/plain;charset=\"a,b\";q=0.9".to_owned(),
            ),
        ];
        for (said, application, envoy) in table {
            assert_eq!(accept(said, Kind::Application), application, "{said:?}");
            assert_eq!(accept(said, Kind::Envoy), envoy, "{said:?}");
        }
    }
}
