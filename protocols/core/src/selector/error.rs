//! What is wrong with a selector's text, where, and how to mend it. Finding it out is the lexer's and the parser's.

use std::fmt;

use thiserror::Error;

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("selector: at column {column}: {fault}")]
pub struct SelectorError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong in one place of a selector (Jakarta Messaging 3.1, section 3.8.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// More bytes than [`Selector::MAX_BYTES`](super::Selector::MAX_BYTES).
    #[error("the text is {bytes} bytes long, at most {limit} are allowed; shorten it")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// More open parentheses than [`Selector::MAX_NESTING`](super::Selector::MAX_NESTING).
    #[error("parentheses are nested deeper than {limit}; flatten them")]
    TooDeep {
        /// Most open at a time.
        limit: usize,
    },
    /// More names and values than [`Selector::MAX_TERMS`](super::Selector::MAX_TERMS).
    #[error("{found} is one term too many, at most {limit} are allowed; shorten the selector")]
    TooManyTerms {
        /// The first beyond the limit.
        found: Excerpt,
        /// Most terms allowed.
        limit: usize,
    },
    /// More bytes in a LIKE pattern than [`Selector::MAX_PATTERN_BYTES`](super::Selector::MAX_PATTERN_BYTES).
    #[error("the pattern {found} is {bytes} bytes long, at most {limit} are allowed; shorten it")]
    PatternTooLong {
        /// The pattern's beginning.
        found: Excerpt,
        /// Its length in bytes.
        bytes: usize,
        /// Most bytes allowed.
        limit: usize,
    },
    /// Another language's operator.
    #[error("{found} is no operator, write '{write}'")]
    Operator {
        /// As it stands.
        found: Excerpt,
        /// As it should.
        write: &'static str,
    },
    /// A character that begins nothing.
    #[error(
        "{found} has no meaning here; put a name that contains it in double quotes, text in single quotes"
    )]
    Character {
        /// As it stands.
        found: Excerpt,
    },
    /// A text or a quoted name that runs to the end of the selector.
    #[error("{found} has no end; close it with {quote} and double each {quote} inside")]
    Open {
        /// Its beginning.
        found: Excerpt,
        /// What would end it.
        quote: char,
    },
    /// `""`
    #[error("a name in double quotes is empty; write the header's name between them")]
    EmptyName,
    /// Something that begins with a digit and is no number.
    #[error("{found} is no number; {mend}")]
    Number {
        /// As it stands.
        found: Excerpt,
        /// What to write instead.
        mend: &'static str,
    },
    /// A number that neither 64 bits nor a double hold.
    #[error("{found} is out of range; {mend}")]
    Range {
        /// As it stands.
        found: Excerpt,
        /// What to write instead.
        mend: &'static str,
    },
    /// Something else than what the grammar asks for.
    #[error("{found} stands where {wanted} belongs; {mend}")]
    Unexpected {
        /// What stands there.
        found: Excerpt,
        /// What belongs there.
        wanted: &'static str,
        /// What to write.
        mend: &'static str,
    },
    /// NULL as a value.
    #[error("{found} cannot be compared or computed with; write IS NULL or IS NOT NULL after a name")]
    Null {
        /// As it is written.
        found: Excerpt,
    },
    /// `(` without `)`
    #[error("this '(' is never closed; write ')' where it ends")]
    Unclosed,
    /// `)` without `(`
    #[error("this ')' closes nothing; remove it or write '(' where it begins")]
    Unopened,
    /// `a < b < c`
    #[error("{found} follows a comparison, and comparisons do not chain; join two of them with AND")]
    Chain {
        /// The second operator.
        found: Excerpt,
    },
    /// A value of the wrong type, known before any message is.
    #[error("{found} is {is} where {wanted} belongs; {mend}")]
    Kind {
        /// The value.
        found: Excerpt,
        /// What it is.
        is: &'static str,
        /// What belongs there.
        wanted: &'static str,
        /// What to write.
        mend: &'static str,
    },
    /// LIKE, IN or IS after anything else than a name or JSON().
    #[error("{operator} tests a name or JSON(), not {found}; write one before it")]
    NotNamed {
        /// LIKE, IN or IS NULL.
        operator: &'static str,
        /// What stands before it.
        found: Excerpt,
    },
    /// ESCAPE with more or less than one character.
    #[error("the escape {found} is not one character; write ESCAPE and one character in single quotes")]
    EscapeLength {
        /// The text after ESCAPE.
        found: Excerpt,
    },
    /// An escape character that escapes nothing.
    #[error(
        "in the pattern {found} the escape '{escape}' stands before none of '%', '_' and itself; \
         double it to mean it"
    )]
    EscapeUse {
        /// The pattern.
        found: Excerpt,
        /// The escape character.
        escape: char,
    },
    /// A JSON path that cannot be followed.
    #[error("the path {found} has {what} at its character {at}; write it like $.a.b[0][\"odd key\"]")]
    Path {
        /// The path.
        found: Excerpt,
        /// What is wrong.
        what: &'static str,
        /// Where in the path, in characters from 1.
        at: usize,
    },
}

/// A piece of a selector in quotes, escaped and short enough for a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Most characters shown.
    pub const MAX_CHARS: usize = 40;

    pub(super) fn of(text: &str) -> Self {
        let mut shown: String = text.chars().take(Self::MAX_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self(shown.into())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the end");
        }
        // The quotes of a text are part of what is shown and need none around them.
        let quoted = self.0.starts_with(['\'', '"']);
        let quote = if quoted { "" } else { "'" };
        f.write_str(quote)?;
        for char in self.0.chars() {
            // Control characters are escaped, so that a selector cannot forge a log line.
            match char {
                '\'' | '"' | '\\' => fmt::Write::write_char(f, char)?,
                char => write!(f, "{}", char.escape_debug())?,
            }
        }
        f.write_str(quote)
    }
}
