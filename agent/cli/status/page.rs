//! A page for a terminal: rows behind labels, none of them wider than the page, in colour or not.
//!
//! What others have said is not to be trusted: no character of it moves the cursor, turns the text
//! around, or is wider than it is counted.

/// How something looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Hue {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
    Strong,
}

/// How a page looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Look {
    /// In columns.
    pub(in crate::cli) width: usize,
    pub(in crate::cli) colour: bool,
}

/// A page that is being written.
#[derive(Debug)]
pub(in crate::cli) struct Page {
    look: Look,
    lines: Vec<String>,
}

impl Page {
    pub(in crate::cli) fn new(look: Look) -> Self {
        Self { look: Look { width: look.width.max(NARROWEST), ..look }, lines: Vec::new() }
    }

    /// A row; what does not fit is cut off at its end.
    pub(in crate::cli) fn row(&mut self, label: &str, hue: Hue, text: &str) {
        let text = end(&clean(text), self.room());
        self.push(label, hue, &text);
    }

    /// A row of something long and what is to be read behind it: the first is cut in its middle.
    pub(in crate::cli) fn fit(&mut self, label: &str, hue: Hue, long: &str, rest: &str) {
        let rest = end(&clean(rest), self.room() * 3 / 4);
        let text = middle(&clean(long), self.room() - columns(&rest)) + &rest;
        self.push(label, hue, &text);
    }

    /// A few rows of something that is to be read whole; what does not fit into them is cut off.
    pub(in crate::cli) fn fold(&mut self, label: &str, hue: Hue, text: &str) {
        let mut lines: Vec<String> = Vec::new();
        for word in clean(text).split_whitespace() {
            match lines.last_mut() {
                Some(line) if lines_end(line, word) <= self.room() => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        let rest = lines.split_off(lines.len().min(FOLDS - 1)).join(" ");
        lines.extend((!rest.is_empty()).then_some(rest));
        for (index, line) in lines.iter().enumerate() {
            let line = end(line, self.room());
            self.push(if index == 0 { label } else { "" }, hue, &line);
        }
    }

    /// Columns below each other; the third is cut in its middle.
    pub(in crate::cli) fn columns(&mut self, hue: Hue, [name, count, long, rest]: [&str; 4]) {
        let count = end(&clean(count), 7);
        let before = " ".repeat(7 - columns(&count));
        let head = format!("{}{before}{count}  ", padded(&end(&clean(name), 11), 12));
        let rest = end(&clean(rest), self.room() / 2);
        let room = self.room().saturating_sub(columns(&head) + columns(&rest) + 2).min(SPREAD);
        let long = padded(&middle(&clean(long), room), room + 2);
        self.push("", hue, &end(&format!("{head}{long}{rest}"), self.room()));
    }

    /// An empty line.
    pub(in crate::cli) fn gap(&mut self) {
        self.lines.push(String::new());
    }

    /// The page; if it has more lines than that, the last one says how many more there are.
    pub(in crate::cli) fn lines(mut self, most: usize) -> Vec<String> {
        if self.lines.len() > most {
            let more = self.lines.len() - most.saturating_sub(1);
            self.lines.truncate(most.saturating_sub(1));
            self.row("", Hue::Faint, &format!("and {more} more lines"));
        }
        self.lines
    }

    fn room(&self) -> usize {
        self.look.width - LABEL
    }

    fn push(&mut self, label: &str, hue: Hue, text: &str) {
        let label = padded(&end(&clean(label), LABEL - 1), LABEL);
        let line = format!("{}{}", self.painted(Hue::Strong, &label), self.painted(hue, text));
        self.lines.push(line.trim_end().to_owned());
    }

    fn painted(&self, hue: Hue, text: &str) -> String {
        let code = match hue {
            _ if !self.look.colour || text.trim().is_empty() => return text.to_owned(),
            Hue::Plain => return text.to_owned(),
            Hue::Good => 32,
            Hue::Warning => 33,
            Hue::Bad => 31,
            Hue::Faint => 2,
            Hue::Strong => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

fn lines_end(line: &str, word: &str) -> usize {
    columns(line) + 1 + columns(word)
}

/// What others have said, without what a terminal would heed: control characters, and those that
/// have no width or turn what follows around.
pub(in crate::cli) fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        c if c.is_control() => ' ',
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => '?',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// The width of a text: rather too much of it than too little.
fn columns(text: &str) -> usize {
    text.chars().map(column).sum()
}

fn column(c: char) -> usize {
    if c < '\u{1100}' || c == CUT { 1 } else { 2 }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// As much of a text as there is room for.
pub(in crate::cli) fn end(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let Some(room) = room.checked_sub(1) else { return String::new() };
    let mut cut = head(text.chars(), room);
    cut.push(CUT);
    cut
}

/// Its beginning and its end, if there is no room for all of it.
fn middle(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let Some(room) = room.checked_sub(1) else { return String::new() };
    let tail: Vec<char> = head(text.chars().rev(), room / 2).chars().rev().collect();
    let mut cut = head(text.chars(), room - room / 2);
    cut.push(CUT);
    cut.extend(tail);
    cut
}

fn head(text: impl Iterator<Item = char>, room: usize) -> String {
    let mut left = room;
    let fits = |c: &char| {
        let taken = column(*c);
        let fits = taken <= left;
        left = left.saturating_sub(taken);
        fits
    };
    text.take_while(fits).collect()
}

const LABEL: usize = 11;
const NARROWEST: usize = 40;
/// The widest that a column is made, so that what is behind it is not far away.
const SPREAD: usize = 40;
/// In how many rows something is folded.
const FOLDS: usize = 3;
const CUT: char = '…';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_long_is_cut_where_it_says_least() {
        assert_eq!(end("abcdefgh", 8), "abcdefgh");
        assert_eq!(end("abcdefgh", 5), "abcd…");
        assert_eq!(middle("abcdefgh", 5), "ab…gh");
        assert_eq!(middle("abcdefgh", 6), "abc…gh");
        assert_eq!(end("日本語", 5), "日本…");
        assert_eq!(end("日本語", 4), "日…");
    }

    #[test]
    fn what_moves_a_cursor_or_turns_text_around_is_not_shown() {
        let hostile = "a\x1b[2Jb\r\nc\u{202e}d\u{9b}e\u{200b}f\u{7f}g";
        assert_eq!(clean(hostile), "a [2Jb  c?d e?f g");
    }

    #[test]
    fn what_is_to_be_read_whole_takes_a_few_rows_and_no_more() {
        let mut page = Page::new(Look { width: 40, colour: false });
        page.fold("label", Hue::Bad, &"word ".repeat(30));
        assert_eq!(
            page.lines(99),
            [
                "label      word word word word word word",
                "           word word word word word word",
                "           word word word word word wor…",
            ]
        );
    }

    #[test]
    fn a_page_that_is_too_long_says_how_much_is_left() {
        let mut page = Page::new(Look { width: 80, colour: false });
        (0..5).for_each(|_| page.row("a", Hue::Plain, "b"));
        let lines = page.lines(3);
        assert_eq!(lines.last().unwrap(), "           and 3 more lines");
        assert_eq!(lines.len(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_line_is_wider_than_the_page_whatever_is_said(
            texts in prop::collection::vec(prop::collection::vec(any::<char>(), 0..150), 7),
            width in 0..200_usize,
        ) {
            let mut page = Page::new(Look { width, colour: false });
            let texts: Vec<String> = texts.into_iter().map(String::from_iter).collect();
            let text = |index: usize| texts[index].as_str();
            page.row(text(0), Hue::Plain, text(1));
            page.fit(text(0), Hue::Bad, text(2), text(3));
            page.fold(text(3), Hue::Bad, text(4));
            page.columns(Hue::Faint, [0, 1, 5, 6].map(text));
            for line in page.lines(100) {
                prop_assert!(columns(&line) <= width.max(NARROWEST), "{line:?}");
                prop_assert!(clean(&line) == line, "{line:?}");
            }
        }
    }
}
