//! Text from outside, made safe to print.
//!
//! Keys, file names, index names and the messages of other programs come from outside. Such a text
//! may be a megabyte long, may break the line that it is in, and may command a terminal.
//! [`printable`] cuts and escapes it; [`quoted`] does so in quotation marks. Every message, log
//! line or table with a text from outside gets it through one of the two.
//!
//! ```
//! use ocelli_text::{printable, quoted};
//!
//! assert_eq!(printable("Paris/tower.jpg", 256), "Paris/tower.jpg");
//! assert_eq!(printable("two\nlines", 256), r"two\nlines");
//! assert_eq!(quoted(r#"a "name""#), r#""a \"name\"""#);
//! ```

#![forbid(unsafe_code)]

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters of a text from outside that a message shows, unless there is a reason for another
/// number.
pub const MAX_CHARS: usize = 256;

/// `text` in at most `max_chars` characters, none of which moves a cursor, ends a line or turns the
/// direction of writing.
///
/// Control characters, separators of lines and paragraphs, and controls of direction are escaped as
/// Rust writes them: `\n`, `\u{1b}`. A backslash stays as it is, so the result is for people and
/// not for parsing. What does not fit is cut off, never inside of an escape, and `… (6,144 bytes)`
/// follows: the length of the whole text.
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> Cow<'_, str> {
    told(text, show(text, max_chars, |_| 1, acts))
}

/// [`printable`] in at most `max_bytes` bytes, without the note that it was cut off.
#[must_use]
pub fn printable_bytes(text: &str, max_bytes: usize) -> Cow<'_, str> {
    told(text, show(text, max_bytes, char::len_utf8, acts))
}

/// The shown part of `text`, with the length of `text` if it was cut off.
fn told<'a>(text: &str, shown: (Cow<'a, str>, bool)) -> Cow<'a, str> {
    match shown {
        (shown, false) => shown,
        (shown, true) => Cow::Owned(format!("{shown}{}", whole(text))),
    }
}

/// `text` in quotation marks, with at most [`MAX_CHARS`] characters between them: as [`printable`],
/// with quotation marks and backslashes escaped, too. To be used where `{text:?}` would be.
#[must_use]
pub fn quoted(text: &str) -> String {
    let escaped = |c| acts(c) || c == '"' || c == '\\';
    match show(text, MAX_CHARS, |_| 1, escaped) {
        (shown, false) => format!("\"{shown}\""),
        (shown, true) => format!("\"{shown}\"{}", whole(text)),
    }
}

/// A report of several lines, whole, with nothing in it that commands a terminal. Only its line
/// breaks stay: a text within a line that may hold one goes through [`printable`] before.
#[must_use]
pub fn report(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| printable(line, usize::MAX)).collect();
    lines.join("\n")
}

/// A number with what it counts, `noun` in the singular: `1 row`, `1,234 rows`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// The message of a panic, in one line; `no message` if it is no text.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let fixed = || panic.downcast_ref::<&str>().copied();
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(fixed);
    text.unwrap_or("no message").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `1234567` as `1,234,567`, for people. `indicatif::HumanCount` writes the same, but every crate
/// uses this one, which has no dependencies.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The beginning of `text` whose characters have a `size` of at most `max` together, and whether
/// that is not all of it.
fn show(
    text: &str,
    max: usize,
    size: impl Fn(char) -> usize,
    escaped: impl Fn(char) -> bool,
) -> (Cow<'_, str>, bool) {
    // No character has a greater size than its bytes.
    if text.len() <= max && !text.contains(&escaped) {
        return (Cow::Borrowed(text), false);
    }
    let (mut shown, mut sum) = (String::new(), 0);
    let mut escape = String::new();
    for c in text.chars() {
        escape.clear();
        match escaped(c) {
            // Writing to a string does not fail.
            true => drop(write!(escape, "{}", c.escape_default())),
            false => escape.push(c),
        }
        sum += escape.chars().map(&size).sum::<usize>();
        if sum > max {
            return (Cow::Owned(shown), true);
        }
        shown.push_str(&escape);
    }
    (Cow::Owned(shown), false)
}

/// The note after a text that was cut off.
fn whole(text: &str) -> String {
    format!("… ({} bytes)", thousands(text.len() as u64))
}

/// Whether a character does something else than to be seen.
fn acts(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    // Separators of lines and paragraphs, a byte order mark, and tags, which are invisible.
    let hides = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || turns || hides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_stays_as_it_is() {
        for plain in
            ["", "photos/3.jpg", r"C:\photos\3.jpg", "Zürich 😀", "写真/塔.jpg", "👩\u{200d}🚀"]
        {
            assert!(matches!(printable(plain, 256), Cow::Borrowed(same) if same == plain));
        }
        assert_eq!(printable("abc", 3), "abc");
    }

    #[test]
    fn what_acts_is_escaped() {
        let cases = [
            ("a\u{1b}[2Jb", r"a\u{1b}[2Jb"),
            ("ring\u{7}", r"ring\u{7}"),
            ("one\ntwo\r\tthree\0", r"one\ntwo\r\tthree\u{0}"),
            ("gpj.\u{202e}a", r"gpj.\u{202e}a"),
            ("\u{2066}\u{200f}\u{61c}", r"\u{2066}\u{200f}\u{61c}"),
            ("\u{2028}\u{85}\u{9b}\u{feff}\u{7f}", r"\u{2028}\u{85}\u{9b}\u{feff}\u{7f}"),
        ];
        for (text, shown) in cases {
            assert_eq!(printable(text, 256), shown);
        }
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(printable(&"a".repeat(6144), 3), "aaa… (6,144 bytes)");
        assert_eq!(printable("ééé", 2), "éé… (6 bytes)");
        // Never inside of an escape.
        assert_eq!(printable("ab\u{1b}\u{1b}", 9), r"ab\u{1b}… (4 bytes)");
        assert_eq!(printable("\n\n", 4), r"\n\n");
        assert_eq!(printable("abc", 0), "… (3 bytes)");
        assert_eq!(printable_bytes("ééé", 5), "éé… (6 bytes)");
        assert_eq!(printable_bytes("é\n", 4), "é\\n");
        let million = "\u{1b}".repeat(1 << 20);
        let shown = printable(&million, MAX_CHARS);
        assert!(shown.len() < 300 && shown.ends_with("… (1,048,576 bytes)"), "{shown}");
    }

    #[test]
    fn quotation_marks_show_where_a_text_ends() {
        assert_eq!(quoted("a \"b\"\\\n"), r#""a \"b\"\\\n""#);
        let long = quoted(&"k".repeat(6144));
        assert_eq!(long, format!("\"{}\"… (6,144 bytes)", "k".repeat(256)));
    }

    #[test]
    fn digits_stand_in_threes() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn reports_keep_their_lines() {
        let long = "x".repeat(1000);
        let text = format!("a\x1b[31m\r\tb\n\n{long}\n");
        assert_eq!(report(&text), format!("a\\u{{1b}}[31m\\r\\tb\n\n{long}\n"));
    }
}
