//! Cuts a selector's text into tokens. What may follow what is the parser's.

use super::error::{Excerpt, Fault, SelectorError};
use super::value::Cmp;

/// What is outside the alphabet of JMS, with what those who write it mean.
const FOREIGN: [(&str, &str); 8] = [
    ("==", "="),
    ("=<", "<="),
    ("=>", ">="),
    ("&&", "AND"),
    ("&", "AND"),
    ("||", "OR"),
    ("|", "OR"),
    ("!", "NOT"),
];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Plain or in double quotes; the latter is never a function.
    Name {
        name: String,
        quoted: bool,
    },
    Text(String),
    /// Without its sign, so that the smallest whole number can be written.
    Whole(u64),
    Real(f64),
    Compare(Cmp),
    Plus,
    Minus,
    Star,
    Slash,
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
    Between,
    In,
    Like,
    Escape,
    Is,
    Null,
    True,
    False,
    End,
}

/// A token and the bytes it was read from.
#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

fn begins_name(char: char) -> bool {
    // A Java identifier part that may begin one, as section 3.8.1.1 asks.
    char.is_alphabetic() || char == '_' || char == '$'
}

fn continues_name(char: char) -> bool {
    begins_name(char) || char.is_alphanumeric()
}

fn keyword(name: &str) -> Option<Token> {
    const KEYWORDS: [(&str, Token); 11] = [
        ("AND", Token::And),
        ("OR", Token::Or),
        ("NOT", Token::Not),
        ("BETWEEN", Token::Between),
        ("IN", Token::In),
        ("LIKE", Token::Like),
        ("ESCAPE", Token::Escape),
        ("IS", Token::Is),
        ("NULL", Token::Null),
        ("TRUE", Token::True),
        ("FALSE", Token::False),
    ];
    KEYWORDS.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(name)).map(|(_, token)| token)
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What stands between two bytes, for an error.
    pub(super) fn excerpt(&self, start: usize, end: usize) -> Excerpt {
        Excerpt::of(self.text.get(start..end).unwrap_or_default())
    }

    pub(super) fn error(&self, start: usize, fault: Fault) -> SelectorError {
        SelectorError { column: self.text.get(..start).unwrap_or_default().chars().count() + 1, fault }
    }

    pub(super) fn next(&mut self) -> Result<Lexeme, SelectorError> {
        let rest = self.rest().trim_start();
        self.at = self.text.len() - rest.len();
        let start = self.at;
        let Some(first) = rest.chars().next() else {
            return Ok(Lexeme { token: Token::End, start, end: start });
        };
        let token = match first {
            '\'' => Token::Text(self.quoted('\'')?),
            '"' => {
                let name = self.quoted('"')?;
                if name.is_empty() {
                    return Err(self.error(start, Fault::EmptyName));
                }
                Token::Name { name, quoted: true }
            }
            _ if begins_name(first) => self.name(),
            '0'..='9' => self.number()?,
            '.' if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => self.number()?,
            _ => self.symbol()?,
        };
        Ok(Lexeme { token, start, end: self.at })
    }

    fn quoted(&mut self, quote: char) -> Result<String, SelectorError> {
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, char)) = chars.next() {
            if char == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
                self.at += at + quote.len_utf8();
                return Ok(text);
            }
            text.push(char);
        }
        let found = self.excerpt(start, self.text.len());
        Err(self.error(start, Fault::Open { found, quote }))
    }

    fn name(&mut self) -> Token {
        let rest = self.rest();
        let len = rest.find(|char| !continues_name(char)).unwrap_or(rest.len());
        self.at += len;
        let name = rest.get(..len).unwrap_or_default();
        keyword(name).unwrap_or_else(|| Token::Name { name: name.to_owned(), quoted: false })
    }

    fn number(&mut self) -> Result<Token, SelectorError> {
        let (start, rest) = (self.at, self.rest());
        let bytes = rest.as_bytes();
        let digits = |from: usize| {
            let tail = bytes.get(from..).unwrap_or_default();
            from + tail.iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let whole = digits(0);
        let mut end = whole;
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if bytes.get(end).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'e')) {
            let signed = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if digits(signed) > signed {
                end = digits(signed);
            }
        }
        let tail = rest.get(end..).unwrap_or_default();
        let junk = tail.find(|char| !continues_name(char) && char != '.').unwrap_or(tail.len());
        self.at = start + end + junk;
        let found = self.excerpt(start, self.at);
        if junk > 0 {
            let mend = if rest.starts_with("0x") || rest.starts_with("0X") {
                "write it in decimal"
            } else {
                "put a name that begins with a digit in double quotes, and a space after a number"
            };
            return Err(self.error(start, Fault::Number { found, mend }));
        }
        let number = rest.get(..end).unwrap_or_default();
        if end > whole {
            return match number.parse::<f64>() {
                Ok(real) if real.is_finite() => Ok(Token::Real(real)),
                _ => {
                    Err(self
                        .error(start, Fault::Range { found, mend: "the largest number is about 1.8E308" }))
                }
            };
        }
        if number.len() > 1 && number.starts_with('0') {
            // Java would read it as octal; neither reading is what everybody expects.
            let mend = "write it without leading zeros";
            return Err(self.error(start, Fault::Number { found, mend }));
        }
        number.parse().map(Token::Whole).map_err(|_| self.error(start, Fault::Range { found, mend: WHOLE }))
    }

    fn symbol(&mut self) -> Result<Token, SelectorError> {
        const SYMBOLS: [(&str, Token); 14] = [
            ("<>", Token::Compare(Cmp::Ne)),
            ("!=", Token::Compare(Cmp::Ne)),
            ("<=", Token::Compare(Cmp::Le)),
            (">=", Token::Compare(Cmp::Ge)),
            ("=", Token::Compare(Cmp::Eq)),
            ("<", Token::Compare(Cmp::Lt)),
            (">", Token::Compare(Cmp::Gt)),
            ("+", Token::Plus),
            ("-", Token::Minus),
            ("*", Token::Star),
            ("/", Token::Slash),
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
        ];
        let (start, rest) = (self.at, self.rest());
        let foreign = FOREIGN.into_iter().find(|(symbol, _)| rest.starts_with(symbol));
        if let Some((symbol, write)) = foreign
            && !rest.starts_with("!=")
        {
            let found = Excerpt::of(symbol);
            return Err(self.error(start, Fault::Operator { found, write }));
        }
        if let Some((symbol, token)) = SYMBOLS.into_iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            self.at += symbol.len();
            return Ok(token);
        }
        let end = start + rest.chars().next().map_or(0, char::len_utf8);
        Err(self.error(start, Fault::Character { found: self.excerpt(start, end) }))
    }
}

/// How a whole number that is too large is mended.
pub(super) const WHOLE: &str = "whole numbers lie between -9223372036854775808 and 9223372036854775807, \
                                write a decimal point to have it rounded";
