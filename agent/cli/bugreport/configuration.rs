//! What was set, to what, and by whom.

use std::path::Path;

use hawser_redact::{MASK, is_secret, text};

use super::piece::{Content, Piece, Raw};
use crate::{
    cli::Context,
    config::{
        Config, parse,
        problem::Problem,
        setting::{self, SETTINGS},
        source::{self, Sources},
        values::{Said, Source},
    },
};

pub(super) fn pieces(context: &Context) -> Vec<Piece> {
    let sources = source::read(&context.paths, &context.environment, &context.flags);
    let proxy = sources.proxy.to_json().to_string();
    let proxy = Content::json(&mut proxy.as_bytes()).map_err(|error| error.to_string());
    let settings = Raw::whole(settings(context, &sources));
    let what = "settings and variables, with who has said each";
    let mut pieces = vec![
        Piece::text("configuration.txt", what, Ok(settings)),
        Piece {
            name: "proxy_config.json",
            what: "the mesh's ProxyConfig, as it holds here",
            content: proxy,
        },
    ];
    let said = setting::find("services.file").map(|known| sources.values.setting(known).value);
    let file = said.as_deref().and_then(parse::file).unwrap_or_else(|| context.paths.services());
    if file.exists() {
        pieces.push(services(&file));
    }
    pieces
}

/// What the file of services says: as JSON, in which what is secret is known by its place; as text
/// where it is damaged.
fn services(file: &Path) -> Piece {
    let what = "the file of services";
    let texts = match hawser_services::file::texts(file) {
        Ok(texts) => texts,
        Err(problems) => return Piece::text("services.json", what, Err(problems.to_string())),
    };
    let read = texts.iter().map(|own| serde_saphyr::from_str::<serde_json::Value>(&own.text));
    match read.collect::<Result<Vec<_>, _>>() {
        Ok(documents) => {
            let text = serde_json::Value::from(documents).to_string();
            let content = Content::json(&mut text.as_bytes()).map_err(|error| error.to_string());
            Piece { name: "services.json", what, content }
        }
        Err(_damaged) => {
            let all: Vec<&str> = texts.iter().map(|own| own.text.as_str()).collect();
            Piece::text("services.yaml", what, Ok(Raw::whole(all.join("\n---\n"))))
        }
    }
}

fn settings(context: &Context, sources: &Sources) -> String {
    let mut lines = String::new();
    for setting in SETTINGS {
        let said = sources.values.setting(setting);
        lines.push_str(&line(setting.key, &text(&said.value), &said.source));
    }
    lines.push('\n');
    for (name, said) in
        sources.values.variables_after("").filter(|(name, said)| is_ours(name, said))
    {
        // Headers for istiod and the authority are somebody's credentials more often than not.
        let value = if is_secret(name) { MASK.to_owned() } else { text(&said.value) };
        lines.push_str(&line(name, &value, &said.source));
    }
    lines.push('\n');
    let problems = Config::load(&context.paths, sources).err().map(|problems| problems.0);
    // What is wrong may be a secret that stands in the wrong place.
    for Problem { key, expected, .. } in problems.into_iter().flatten() {
        lines.push_str(&format!("wrong: {key}: {expected}\n"));
    }
    if !sources.joined {
        lines.push_str("this machine has not joined a mesh\n");
    }
    lines
}

/// Not what the shell of whoever has typed the command has in its environment.
fn is_ours(name: &str, said: &Said) -> bool {
    let known = setting::of_variable(name).is_some()
        || setting::of_own_variable(name).is_some()
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    known || !matches!(said.source, Source::Environment { .. })
}

fn line(name: &str, value: &str, source: &Source) -> String {
    let value = if value.is_empty() { "-".to_owned() } else { value.replace('\n', " ") };
    format!("{name:<32} {value:<40} {source}\n")
}

const PREFIXES: [&str; 5] =
    ["ISTIO_META_", "ISTIO_METAJSON_", "XDS_HEADER_", "CA_HEADER_", "PROXY_CONFIG"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{paths::Paths, source::Environment};

    #[test]
    fn values_are_shown_with_their_source_but_headers_secrets_and_what_is_not_ours() {
        let environment: Environment = [
            ("XDS_HEADER_X_TEAM", "header-value"),
            ("ISTIO_META_API_KEY", "meta-value"),
            ("ISTIO_META_NETWORK", "net-1"),
            ("MY_SHELL_THING", "shell-value"),
            ("HAWSER_ISTIOD_TOKEN_COMMAND", "/bin/vault --token command-value read"),
            ("HAWSER_ISTIOD_TOKNE", "misspelt-value"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        let paths = Paths::under("/nowhere");
        let context = Context { paths, environment, flags: Vec::new() };
        let settings = pieces(&context).remove(0);
        let said = String::from_utf8(settings.content.unwrap().bytes().to_vec()).unwrap();

        for left_out in
            ["header-value", "meta-value", "shell-value", "command-value", "misspelt-value"]
        {
            assert!(!said.contains(left_out), "{left_out}: {said}");
        }
        assert!(said.contains("$ISTIO_META_NETWORK") && said.contains("net-1"), "{said}");
        assert!(said.contains(&format!("/bin/vault --token {MASK}")), "{said}");
        assert!(said.contains("wrong: $HAWSER_ISTIOD_TOKNE"), "{said}");
    }
}
