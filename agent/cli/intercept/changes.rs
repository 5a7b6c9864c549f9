//! How one text differs from another, line by line.

/// The lines that are gone, with `-`, and those that are new, with `+`, in the order of the texts.
pub(super) fn between(before: &str, after: &str) -> Vec<String> {
    let before: Vec<_> = before.lines().collect();
    let after: Vec<_> = after.lines().collect();
    let same = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    let (before, after) =
        (before.get(same..).unwrap_or_default(), after.get(same..).unwrap_or_default());
    let tail = before.iter().rev().zip(after.iter().rev());
    let tail = tail.take_while(|(one, other)| one == other).count();
    let before = before.get(..before.len() - tail).unwrap_or_default();
    let after = after.get(..after.len() - tail).unwrap_or_default();
    if before.len().saturating_mul(after.len()) > MOST {
        // Too much to be told apart, and to be read.
        let gone = before.iter().map(|line| format!("-{line}"));
        return gone.chain(after.iter().map(|line| format!("+{line}"))).collect();
    }
    compared(before, after)
}

/// By the longest common part.
fn compared(before: &[&str], after: &[&str]) -> Vec<String> {
    let width = after.len() + 1;
    let mut common = vec![0_u32; (before.len() + 1) * width];
    let at = |row: usize, column: usize| row * width + column;
    let value = |common: &[u32], row, column| common.get(at(row, column)).copied().unwrap_or(0);
    for (row, one) in before.iter().enumerate().rev() {
        for (column, other) in after.iter().enumerate().rev() {
            let length = if one == other {
                value(&common, row + 1, column + 1) + 1
            } else {
                value(&common, row + 1, column).max(value(&common, row, column + 1))
            };
            if let Some(place) = common.get_mut(at(row, column)) {
                *place = length;
            }
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut lines = Vec::new();
    loop {
        match (before.get(row), after.get(column)) {
            (None, None) => return lines,
            (Some(one), Some(other)) if one == other => {
                row += 1;
                column += 1;
            }
            (Some(one), other) => {
                let stays = value(&common, row, column + 1) > value(&common, row + 1, column);
                if let Some(other) = other.filter(|_| stays) {
                    lines.push(format!("+{other}"));
                    column += 1;
                } else {
                    lines.push(format!("-{one}"));
                    row += 1;
                }
            }
            (None, Some(other)) => {
                lines.push(format!("+{other}"));
                column += 1;
            }
        }
    }
}

const MOST: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_told_and_no_others() {
        let cases: [(&str, &str, &[&str]); 6] = [
            ("", "", &[]),
            ("a\nb\nc\n", "a\nb\nc\n", &[]),
            ("a\nb\nc\n", "a\nx\nc\n", &["-b", "+x"]),
            ("a\nc\n", "a\nb\nc\n", &["+b"]),
            ("a\nb\nc\nd\n", "b\nd\n", &["-a", "-c"]),
            ("", "a\n", &["+a"]),
        ];
        for (before, after, expected) in cases {
            assert_eq!(between(before, after), expected, "{before:?} {after:?}");
        }
    }
}
