//! An error with its causes, on one line.
//!
//! Causes may carry text from the other side of the network (Envoy's rejections have several
//! lines): it can neither forge a log line nor grow one without bound.

use std::{
    error::Error,
    fmt::{self, Write},
};

/// An error's whole story: `a: b: c`, each cause once.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Line { text: String::new(), room: LENGTH_LIMIT };
        let mut said: Vec<String> = Vec::new();
        let causes = std::iter::successors(Some(self.0), |error| Error::source(*error));
        for error in causes.take(DEPTH_LIMIT) {
            let text = error.to_string();
            if !text.is_empty() && !said.iter().any(|before| repeats(before, &text)) {
                if !said.is_empty() {
                    line.write_str(": ")?;
                }
                line.write_str(&text)?;
                said.push(text);
            }
        }
        f.write_str(&line.text)
    }
}

/// Whether `text` has been said already: as a cause of its own or at the end of a text that
/// carries its cause along, as many foreign errors do.
fn repeats(said: &str, text: &str) -> bool {
    said.strip_suffix(text).is_some_and(|before| before.is_empty() || before.ends_with(": "))
}

struct Line {
    text: String,
    room: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for symbol in text.chars() {
            match self.room {
                0 => return Ok(()),
                1 => self.text.push('…'),
                _ if symbol.is_control() || matches!(symbol, '\u{2028}' | '\u{2029}') => {
                    self.text.extend(symbol.escape_default());
                }
                _ => self.text.push(symbol),
            }
            self.room -= 1;
        }
        Ok(())
    }
}

const LENGTH_LIMIT: usize = 4096;
const DEPTH_LIMIT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Story(&'static str, Option<Box<Self>>);

    impl fmt::Display for Story {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Story {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn told(texts: &[&'static str]) -> String {
        let story = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Story(text, cause))));
        Chain(&*story.unwrap()).to_string()
    }

    #[test]
    fn causes_follow_on_one_line_and_each_is_said_once() {
        let cases: [(&[&'static str], &str); 8] = [
            (&["dial istiod"], "dial istiod"),
            (&["dial istiod", "connect", "refused"], "dial istiod: connect: refused"),
            (&["dial istiod", "dial istiod", "refused"], "dial istiod: refused"),
            (&["dial: refused", "refused"], "dial: refused"),
            (&["unrefused", "refused"], "unrefused: refused"),
            (&["a", "b", "a", "c"], "a: b: c"),
            (&["a", "", "c"], "a: c"),
            (
                &["rejected", "one\ntwo\r\u{1b}[31m\u{2028}"],
                r"rejected: one\ntwo\r\u{1b}[31m\u{2028}",
            ),
        ];
        for (texts, line) in cases {
            assert_eq!(told(texts), line, "{texts:?}");
        }
    }

    #[test]
    fn a_novel_is_cut() {
        let line = told(&["x".repeat(9000).leak(), "the end"]);

        assert_eq!(line.chars().count(), LENGTH_LIMIT);
        assert!(line.ends_with("x…"));
    }

    #[test]
    fn a_ring_of_causes_ends() {
        #[derive(Debug)]
        struct Ring;
        impl fmt::Display for Ring {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("round")
            }
        }
        impl Error for Ring {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }

        assert_eq!(Chain(&Ring).to_string(), "round");
    }
}
