//! A command as one line of text, read and written.

use std::{fmt, mem, str::FromStr};

use super::{Command, Error};

impl FromStr for Command {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem| Error::CommandText { text: text.into(), problem };
        let mut words = words(text).map_err(wrong)?.into_iter();
        let program = words.next().ok_or_else(|| wrong("it is empty"))?;
        Self::new(program.into(), words.collect())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.program.to_string_lossy()))?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    // A word may be empty if it is quoted, so there is a difference between none and nothing.
    let mut word: Option<String> = None;
    let mut symbols = text.chars();
    while let Some(symbol) = symbols.next() {
        match symbol {
            '"' => quotation(&mut symbols, word.get_or_insert_default())?,
            _ if symbol.is_whitespace() => words.extend(mem::take(&mut word)),
            _ => word.get_or_insert_default().push(symbol),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Adds the rest of a quotation to `word`, up to its closing mark.
fn quotation(symbols: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match symbols.next() {
            Some('"') => return Ok(()),
            Some('\\') => word.push(symbols.next().ok_or(UNCLOSED)?),
            Some(symbol) => word.push(symbol),
            None => return Err(UNCLOSED),
        }
    }
}

fn quoted(word: &str) -> String {
    if !word.is_empty() && !word.contains(|symbol: char| symbol == '"' || symbol.is_whitespace()) {
        return word.into();
    }
    let mut text = String::from('"');
    for symbol in word.chars() {
        if matches!(symbol, '"' | '\\') {
            text.push('\\');
        }
        text.push(symbol);
    }
    text.push('"');
    text
}

const UNCLOSED: &str = "a double quote is not closed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_separate_and_quotes_hold_together() {
        let cases: [(&str, &[&str]); 9] = [
            ("/bin/true", &[]),
            ("  /bin/true \t\n ", &[]),
            ("/bin/token --audience istio-ca", &["--audience", "istio-ca"]),
            (r#"/bin/token "a b" c"#, &["a b", "c"]),
            (r#"/bin/token --name="a b"c "" d"#, &["--name=a bc", "", "d"]),
            (r#"/bin/token "a \"b\" \\ c""#, &[r#"a "b" \ c"#]),
            (r"/bin/token a\b 'c d'", &[r"a\b", "'c", "d'"]),
            ("/bin/token $HOME `id` * ; |", &["$HOME", "`id`", "*", ";", "|"]),
            ("\"/opt/my tools/token\" é", &["é"]),
        ];
        for (text, arguments) in cases {
            let command: Command = text.parse().unwrap();

            assert_eq!(command.arguments, arguments, "{text}");
            assert_eq!(command.to_string().parse::<Command>().unwrap(), command, "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_why() {
        let cases = [
            ("", "it is empty"),
            (" \t", "it is empty"),
            ("true", "expected the absolute path"),
            ("./true", "expected the absolute path"),
            ("\"\"", "expected the absolute path"),
            ("/bin/token \"a", "a double quote is not closed"),
            ("/bin/token \"a\\", "a double quote is not closed"),
            ("/bin/token a\0b", "a NUL character"),
            ("/bin/to\0ken", "a NUL character"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Command>().unwrap_err();

            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn any_arguments_survive_the_text() {
        let arguments =
            ["", " ", "\"", "\\", "\\\"", "a\u{a0}b", "a\\", "\u{1f600}", "--a=\"b c\""];
        let arguments: Vec<_> = arguments.map(String::from).into();
        let command = Command::new("/opt/my \"tools\"/token".into(), arguments).unwrap();

        assert_eq!(command.to_string().parse::<Command>().unwrap(), command);
    }
}
