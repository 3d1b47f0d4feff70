//! The text form of predicates.
//!
//! ```text
//! or      = and { "or" and }
//! and     = not { "and" not }
//! not     = "not" not | "(" or ")" | test
//! test    = column [ comparison value | ["not"] "in" "(" value { "," value } ")"
//!                  | ["not"] "between" value "and" value | "is" ["not"] "null" ]
//! value   = number | "true" | "false" | date | text between " or '
//! ```
//!
//! Words may be in upper or lower case. A column alone is `column = true`.

use super::{Comparison, Literal, MAX_DEPTH, MAX_PREDICATE_BYTES, Predicate, time, too_large};
use crate::base::error::{Error, Result};

/// A word or sign.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Value(Literal),
    Sign(&'static str),
    End,
}

/// Longest first where one begins another. `<>` and `==` are `!=` and `=`.
const SIGNS: [(&str, &str); 11] = [
    ("<=", "<="),
    (">=", ">="),
    ("!=", "!="),
    ("<>", "!="),
    ("==", "="),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
    ("(", "("),
    (")", ")"),
    (",", ","),
];

/// Reads a predicate.
pub(super) fn parse(text: &str) -> Result<Predicate> {
    if text.len() > MAX_PREDICATE_BYTES {
        return Err(too_large("is longer than", MAX_PREDICATE_BYTES, "bytes"));
    }
    let mut parser = Parser { text, at: 0, start: 0, token: Token::End, depth: 0 };
    parser.advance()?;
    let predicate = parser.or()?;
    match parser.token {
        Token::End => Ok(predicate),
        _ => Err(parser.unexpected("`and`, `or` or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Byte behind the token.
    at: usize,
    /// Byte where the token begins.
    start: usize,
    token: Token,
    depth: usize,
}

impl Parser<'_> {
    fn error(&self, at: usize, what: &str) -> Error {
        let character = self.text[..at].chars().count() + 1;
        Error::invalid(format!("filter, character {character}: {what}"))
    }

    fn unexpected(&self, expected: &str) -> Error {
        let found: String = self.text[self.start..self.at].chars().take(40).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("`{found}`") };
        self.error(self.start, &format!("expected {expected}, found {found}"))
    }

    /// Reads the next token.
    fn advance(&mut self) -> Result<()> {
        let rest = self.text[self.at..].trim_start();
        self.start = self.text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            (self.at, self.token) = (self.text.len(), Token::End);
            return Ok(());
        };
        if let Some((sign, meaning)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            (self.at, self.token) = (self.start + sign.len(), Token::Sign(meaning));
            return Ok(());
        }
        if first == '"' || first == '\'' {
            return self.quoted(first);
        }
        if first.is_ascii_digit() || matches!(first, '-' | '+' | '.') {
            return self.number();
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let len = rest.find(|c| !word(c)).unwrap_or(rest.len());
        if len == 0 {
            self.at = self.start + first.len_utf8();
            return Err(self.unexpected("a column, a value or a comparison"));
        }
        (self.at, self.token) = (self.start + len, Token::Word(rest[..len].to_owned()));
        Ok(())
    }

    /// Text between quotes, in which \ stands before a quote or another \.
    fn quoted(&mut self, quote: char) -> Result<()> {
        let mut out = String::new();
        let mut chars = self.text[self.start + 1..].char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, c @ ('\\' | '"' | '\''))) => out.push(c),
                    _ => {
                        let at = self.start + 1 + i;
                        return Err(self.error(at, "expected \\\\, \\\" or \\' after the \\"));
                    }
                },
                c if c == quote => {
                    self.at = self.start + 1 + i + 1;
                    self.token = Token::Value(Literal::Text(out));
                    return Ok(());
                }
                c => out.push(c),
            }
        }
        Err(self.error(self.start, &format!("expected a {quote} that ends the text, found none")))
    }

    /// A number or a date.
    fn number(&mut self) -> Result<()> {
        let rest = &self.text[self.start..];
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | ':' | '_');
        let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at = self.start + len.max(1);
        let found = &rest[..len];
        let value = found.parse().ok().map(Literal::Int);
        let float = || {
            let plain = found.starts_with(|c: char| matches!(c, '-' | '+' | '.' | '0'..='9'))
                && !found.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E'));
            found.parse().ok().filter(|v: &f64| plain && v.is_finite()).map(Literal::Float)
        };
        let value = value.or_else(|| time::parse(found).map(Literal::Time)).or_else(float);
        let value = value.ok_or_else(|| {
            self.unexpected("a number, or a date such as 2019-05-01 or 2019-05-01T12:30:00Z")
        })?;
        self.token = Token::Value(value);
        Ok(())
    }

    fn is_word(&self, wanted: &str) -> bool {
        matches!(&self.token, Token::Word(word) if word.eq_ignore_ascii_case(wanted))
    }

    /// Takes the token if it is this word.
    fn take_word(&mut self, wanted: &str) -> Result<bool> {
        let found = self.is_word(wanted);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn take_sign(&mut self, wanted: &'static str) -> Result<bool> {
        let found = self.token == Token::Sign(wanted);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn or(&mut self) -> Result<Predicate> {
        let mut of = vec![self.and()?];
        while self.take_word("or")? {
            of.push(self.and()?);
        }
        Ok(alone(of, Predicate::Or))
    }

    fn and(&mut self) -> Result<Predicate> {
        let mut of = vec![self.not()?];
        while self.take_word("and")? {
            of.push(self.not()?);
        }
        Ok(alone(of, Predicate::And))
    }

    fn not(&mut self) -> Result<Predicate> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_large("is nested deeper than", MAX_DEPTH, "levels"));
        }
        let found = if self.take_word("not")? {
            // With its parentheses it is one level, so that what a predicate displays can be read.
            let inner = match self.group()? {
                Some(inner) => inner,
                None => self.not()?,
            };
            Predicate::Not(Box::new(inner))
        } else {
            match self.group()? {
                Some(inner) => inner,
                None => self.test()?,
            }
        };
        self.depth -= 1;
        Ok(found)
    }

    /// A predicate in parentheses, if one begins here.
    fn group(&mut self) -> Result<Option<Predicate>> {
        if !self.take_sign("(")? {
            return Ok(None);
        }
        let inner = self.or()?;
        match self.take_sign(")")? {
            true => Ok(Some(inner)),
            false => Err(self.unexpected("`and`, `or` or `)`")),
        }
    }

    fn test(&mut self) -> Result<Predicate> {
        let reserved = super::super::schema::check_name;
        let column = match &self.token {
            Token::Word(word) if reserved(word).is_ok() => word.clone(),
            _ => return Err(self.unexpected("the name of a column, `not` or `(`")),
        };
        self.advance()?;
        if let Token::Sign(sign) = self.token
            && let Ok(op) = sign.parse::<Comparison>()
        {
            self.advance()?;
            let value = self.value()?;
            return Ok(Predicate::Compare { column, op, value });
        }
        if self.take_word("is")? {
            let not = self.take_word("not")?;
            if !self.take_word("null")? {
                return Err(self.unexpected(if not { "`null`" } else { "`null` or `not null`" }));
            }
            return Ok(negated(Predicate::IsNull { column }, not));
        }
        let not = self.take_word("not")?;
        if self.take_word("in")? {
            let values = self.set()?;
            return Ok(negated(Predicate::In { column, values }, not));
        }
        if self.take_word("between")? {
            let low = self.value()?;
            if !self.take_word("and")? {
                return Err(self.unexpected("`and` and the larger value"));
            }
            let high = self.value()?;
            return Ok(negated(Predicate::Between { column, low, high }, not));
        }
        if not {
            return Err(self.unexpected("`in` or `between`"));
        }
        if matches!(self.token, Token::Value(_))
            || matches!(&self.token, Token::Word(w) if !["and", "or"].contains(&&*w.to_lowercase()))
        {
            return Err(self.unexpected("=, !=, <, <=, >, >=, `in`, `between` or `is null`"));
        }
        let value = Literal::Bool(true);
        Ok(Predicate::Compare { column, op: Comparison::Eq, value })
    }

    fn set(&mut self) -> Result<Vec<Literal>> {
        if !self.take_sign("(")? {
            return Err(self.unexpected("`(` and the values of the set"));
        }
        let mut values = vec![self.value()?];
        while self.take_sign(",")? {
            values.push(self.value()?);
        }
        if !self.take_sign(")")? {
            return Err(self.unexpected("`,` or `)`"));
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<Literal> {
        let value = match &self.token {
            Token::Value(value) => value.clone(),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
            _ => {
                return Err(self.unexpected("a number, a date, true, false, or text in quotes"));
            }
        };
        self.advance()?;
        Ok(value)
    }
}

fn alone(mut of: Vec<Predicate>, join: impl Fn(Vec<Predicate>) -> Predicate) -> Predicate {
    match of.pop() {
        Some(only) if of.is_empty() => only,
        last => {
            of.extend(last);
            join(of)
        }
    }
}

fn negated(predicate: Predicate, not: bool) -> Predicate {
    if not { Predicate::Not(Box::new(predicate)) } else { predicate }
}
