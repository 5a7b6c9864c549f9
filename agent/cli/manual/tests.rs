//! Pages as they are written: all of them, and nothing that is not so.

use super::*;

#[test]
fn every_command_has_a_page_and_so_has_the_file() {
    let pages = pages("2001-02-03").unwrap();

    let files: Vec<_> = pages.iter().map(|page| page.file.as_str()).collect();
    for file in
        ["hawser.8", "hawser-join.8", "hawser-dns-explain.8", "hawser.toml.5", "hawser-services.5"]
    {
        assert!(files.contains(&file), "{file}: {files:?}");
    }
    for hidden in ["hawser-manual.8", "hawser-envoy-log.8", "hawser-help.8"] {
        assert!(!files.contains(&hidden), "{hidden}");
    }
}

#[test]
fn every_setting_is_in_the_manual_with_its_default_and_its_old_name() {
    let page = settings::page("").unwrap();
    let page = String::from_utf8(page.text).unwrap().replace("\\-", "-").replace("\\:", "");

    for setting in crate::config::setting::SETTINGS {
        let (_, name) = setting.key.split_once('.').unwrap();
        assert!(page.contains(&format!("\\fB{name}\\fR")), "{}", setting.key);
        assert!(page.contains(setting.default), "{}", setting.key);
        for variable in setting.variables {
            assert!(page.contains(variable), "{variable}");
        }
    }
    assert!(page.contains("terminationDrainDuration"));
}

#[test]
fn every_field_of_the_file_of_services_is_in_the_manual_once() {
    let page = services::page("").unwrap();
    let page = String::from_utf8(page.text).unwrap().replace("\\-", "-").replace("\\:", "");

    let schema = include_str!("../../../packaging/docs/services.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let definitions = schema["$defs"].as_object().unwrap().values();
    let fields = definitions.chain([&schema]).filter_map(|own| own["properties"].as_object());
    for (field, _) in fields.flatten() {
        assert!(page.contains(&format!("\\fB{field}\\fR")), "{field}");
    }
    assert_eq!(page.matches("\n.SH \"SERVICES: TRANSCODE\"").count(), 1, "{page}");
    assert!(!page.contains("PORTS: TRANSCODE"), "{page}");
}

#[test]
fn the_same_program_writes_the_same_pages() {
    let once = pages("2001-02-03").unwrap();
    let again = pages("2001-02-03").unwrap();

    let texts = |pages: Vec<Page>| pages.into_iter().map(|page| page.text).collect::<Vec<_>>();
    assert_eq!(texts(once), texts(again));
}

/// Where a command line stands: what is typed has to be whole, what is spoken of need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Typed,
    Prose,
}

#[test]
fn every_command_line_in_a_text_for_people_is_one_of_the_program() {
    let mut texts = vec![("README.md".to_owned(), read("README.md"))];
    for directory in ["packaging/docs", "packaging/examples"] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            texts.push((path.display().to_string(), std::fs::read_to_string(path).unwrap()));
        }
    }
    for page in pages("").unwrap() {
        let text = String::from_utf8(page.text).unwrap();
        let text = text.replace("\\fB", "`").replace("\\fR", "`").replace("\\*(Aq", "'");
        texts.push((page.file, prompted(&text.replace("\\-", "-").replace("\\:", ""))));
    }

    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, text) in &texts {
        for (place, line) in lines(text) {
            seen += 1;
            wrong.extend(complaint(place, &line).map(|what| format!("{file}: `{line}`: {what}")));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} command lines were found");
}

/// With a prompt before what a page shows as typed.
fn prompted(page: &str) -> String {
    let mut typing = false;
    let mut text = String::new();
    for line in page.lines() {
        typing = line == ".EX" || typing && line != ".EE";
        text.push_str(if typing { "$ " } else { "" });
        text.push_str(&format!("{line}\n"));
    }
    text
}

/// What the parser has against it.
fn complaint(place: Place, line: &str) -> Option<String> {
    use clap::error::ErrorKind as Kind;
    let words = words(line);
    let named = words.iter().any(|word| placeholder(word));
    match Cli::command().try_get_matches_from(words).err()?.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => None,
        Kind::MissingSubcommand
        | Kind::MissingRequiredArgument
        | Kind::DisplayHelpOnMissingArgumentOrSubcommand
            if place == Place::Prose =>
        {
            None
        }
        Kind::ValueValidation | Kind::InvalidValue if named => None,
        kind => Some(kind.to_string()),
    }
}

/// A word that stands for others: NAME, or NAME[:PORT].
fn placeholder(word: &str) -> bool {
    let word = word.rsplit('=').next().unwrap_or(word);
    word.starts_with(char::is_uppercase) && !word.contains(char::is_lowercase)
}

/// As a shell takes them apart.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => words.push(String::new()),
            (c, _) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Every command line of a text, from `hawser` to where the shell begins with something else.
fn lines(text: &str) -> Vec<(Place, String)> {
    let mut found = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let typed = line.strip_prefix("$ ").or_else(|| line.strip_prefix("    "));
        match typed.and_then(ours) {
            Some(typed) => found.push((Place::Typed, typed.to_owned())),
            None => {
                let said = line.split('`').skip(1).step_by(2);
                let ours = said.filter(|said| said.starts_with("hawser "));
                found.extend(ours.map(|said| (Place::Prose, said.to_owned())));
            }
        }
    }
    found.into_iter().map(|(place, line)| (place, first_of(&line))).collect()
}

/// From where a line says `hawser` as a command.
fn ours(line: &str) -> Option<&str> {
    let begins = ["sudo ", "| ", "; ", "&& "];
    let found = line.match_indices("hawser ").map(|(at, _)| line.split_at(at));
    let mut found = found.filter(|(before, _)| {
        before.is_empty() || begins.iter().any(|begin| before.ends_with(begin))
    });
    found.next().map(|(_, rest)| rest)
}

/// Up to a pipe, a redirection, the next command or a comment; without what may be left out.
fn first_of(line: &str) -> String {
    let end = line.find(['|', ';', '>', '<', '&', '#', ')', '\\', '…']).unwrap_or(line.len());
    let words = line.get(..end).unwrap_or_default().split_whitespace();
    words.filter(|word| !word.starts_with('[') && *word != "...").collect::<Vec<_>>().join(" ")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
