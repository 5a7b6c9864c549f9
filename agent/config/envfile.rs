//! Environment files: the part of shell syntax that assigns words to names, and no more.
//!
//! istioctl quotes values for a shell (`'it'"'"'s'`), and people add to the file by hand. Quotes,
//! escapes, comments, `export` and continued lines mean what they mean to a shell. What a shell
//! would *execute* or expand (`$HOME`, backquotes, `;`) is an error: the file is read, never run.

use std::iter::Peekable;

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// Its value, unquoted.
    pub value: String,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// A line that is no assignment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Reads a file: what could be read, and every line that could not.
pub fn parse(text: &str) -> (Vec<Assignment>, Vec<SyntaxError>) {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    let mut assignments = Vec::new();
    let mut errors = Vec::new();
    while reader.skip_blank() {
        let line = reader.line;
        match reader.assignment() {
            Ok((name, value)) => assignments.push(Assignment { name, value, line }),
            Err(what) => {
                errors.push(SyntaxError { line, what });
                reader.skip_line();
            }
        }
    }
    (assignments, errors)
}

struct Reader<I: Iterator<Item = char>> {
    chars: Peekable<I>,
    line: usize,
}

impl<I: Iterator<Item = char>> Reader<I> {
    /// To the next thing on any line; false at the end of the file.
    fn skip_blank(&mut self) -> bool {
        while let Some(&c) = self.chars.peek() {
            match c {
                '#' => self.skip_line(),
                c if c.is_whitespace() => self.advance(),
                _ => return true,
            }
        }
        false
    }

    fn skip_line(&mut self) {
        while self.chars.next_if(|c| *c != '\n').is_some() {}
    }

    fn advance(&mut self) {
        if self.chars.next() == Some('\n') {
            self.line += 1;
        }
    }

    fn assignment(&mut self) -> Result<(String, String), &'static str> {
        let mut name = self.name()?;
        if name == "export" && self.chars.next_if(|c| *c == ' ' || *c == '\t').is_some() {
            while self.chars.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
            name = self.name()?;
        }
        if self.chars.next_if_eq(&'=').is_none() {
            return Err("expected NAME=value, without spaces around the =");
        }
        let value = self.word()?;
        self.end_of_line()?;
        Ok((name, value))
    }

    fn name(&mut self) -> Result<String, &'static str> {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        match name.chars().next() {
            Some(c) if !c.is_ascii_digit() => Ok(name),
            _ => Err("expected NAME=value; a name is letters, digits and _"),
        }
    }

    fn word(&mut self) -> Result<String, &'static str> {
        let mut word = String::new();
        while let Some(&c) = self.chars.peek() {
            match c {
                c if c.is_whitespace() => break,
                '\'' => self.single_quoted(&mut word)?,
                '"' => self.double_quoted(&mut word)?,
                '\\' => self.escaped(&mut word),
                '$' | '`' => return Err(EXPANDED),
                ';' | '&' | '|' | '<' | '>' | '(' | ')' => {
                    return Err("a value with ; & | < > ( or ) has to be quoted");
                }
                c => {
                    word.push(c);
                    self.advance();
                }
            }
        }
        Ok(word)
    }

    fn single_quoted(&mut self, word: &mut String) -> Result<(), &'static str> {
        self.advance();
        while let Some(&c) = self.chars.peek() {
            self.advance();
            match c {
                '\'' => return Ok(()),
                c => word.push(c),
            }
        }
        Err(UNCLOSED)
    }

    fn double_quoted(&mut self, word: &mut String) -> Result<(), &'static str> {
        self.advance();
        while let Some(&c) = self.chars.peek() {
            match c {
                '"' => {
                    self.advance();
                    return Ok(());
                }
                '$' | '`' => return Err(EXPANDED),
                '\\' => {
                    self.advance();
                    match self.chars.peek().copied() {
                        Some('\n') => self.advance(),
                        Some(c @ ('"' | '\\' | '$' | '`')) => {
                            word.push(c);
                            self.advance();
                        }
                        // Before any other letter a shell keeps the backslash.
                        _ => word.push('\\'),
                    }
                }
                c => {
                    word.push(c);
                    self.advance();
                }
            }
        }
        Err(UNCLOSED)
    }

    /// A backslash outside quotes: the next letter as it is, or a continued line.
    fn escaped(&mut self, word: &mut String) {
        self.advance();
        if let Some(&c) = self.chars.peek() {
            self.advance();
            if c != '\n' {
                word.push(c);
            }
        }
    }

    fn end_of_line(&mut self) -> Result<(), &'static str> {
        while let Some(&c) = self.chars.peek() {
            match c {
                '\n' => return Ok(()),
                '#' => {
                    self.skip_line();
                    return Ok(());
                }
                c if c.is_whitespace() => self.advance(),
                _ => return Err("a value with spaces has to be quoted"),
            }
        }
        Ok(())
    }
}

const UNCLOSED: &str = "a quote is opened and never closed";
const EXPANDED: &str = "nothing is expanded here; put the value in single quotes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_mean_what_they_mean_to_a_shell() {
        let table = [
            ("A=b", "b"),
            ("A=", ""),
            ("A=''", ""),
            ("A='*'", "*"),
            (r#"A='it'"'"'s'"#, "it's"),
            (r#"A='{"a":"b c"}'"#, r#"{"a":"b c"}"#),
            (r#"A="x \"y\" \\ \$z""#, r#"x "y" \ $z"#),
            (r#"A="a\nb""#, r"a\nb"),
            (r"A=a\ b", "a b"),
            ("A=a\\\nb", "ab"),
            ("A=\"a\\\nb\"", "ab"),
            ("A='two\nlines'", "two\nlines"),
            ("export A=b", "b"),
            ("export\t A=b", "b"),
            ("  A=b  # why", "b"),
            ("A=b#c", "b#c"),
            ("A=b\r", "b"),
            ("A=http://x:1/?a=b", "http://x:1/?a=b"),
        ];
        for (text, value) in table {
            let (assignments, errors) = parse(text);
            assert_eq!(errors, [], "{text}");
            assert_eq!(assignments.len(), 1, "{text}");
            assert_eq!(assignments[0].name, "A", "{text}");
            assert_eq!(assignments[0].value, value, "{text}");
        }
    }

    #[test]
    fn what_a_shell_would_run_or_refuse_is_an_error() {
        let table = [
            ("A", "expected NAME=value, without spaces around the ="),
            ("A = b", "expected NAME=value, without spaces around the ="),
            ("1A=b", "expected NAME=value; a name is letters, digits and _"),
            ("=b", "expected NAME=value; a name is letters, digits and _"),
            ("A='b", UNCLOSED),
            ("A=\"b", UNCLOSED),
            ("A=$B", EXPANDED),
            ("A=\"$B\"", EXPANDED),
            ("A=`id`", EXPANDED),
            ("A=b;id", "a value with ; & | < > ( or ) has to be quoted"),
            ("A=b c", "a value with spaces has to be quoted"),
            ("rm -rf /", "expected NAME=value, without spaces around the ="),
        ];
        for (text, what) in table {
            assert_eq!(parse(text), (vec![], vec![SyntaxError { line: 1, what }]), "{text}");
        }
    }

    #[test]
    fn every_bad_line_is_told_and_the_good_ones_are_read() {
        let (assignments, errors) = parse("# comment\n\nA=1\nB\nC='x\ny'\nD = 2\nE=3\n");

        let read: Vec<_> = assignments.iter().map(|a| (a.name.as_str(), a.line)).collect();
        assert_eq!(read, [("A", 3), ("C", 5), ("E", 8)]);
        assert_eq!(errors.iter().map(|e| e.line).collect::<Vec<_>>(), [4, 7]);
    }
}
