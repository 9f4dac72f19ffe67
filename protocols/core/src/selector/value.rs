//! Values, what they become beside each other, and the logic of three values. Where they come from is elsewhere.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::json;

/// The outcome of a condition (section 3.8.1.2, after SQL-92).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    #[default]
    Unknown,
}

impl Truth {
    pub(super) fn of(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, Self::True) => Self::True,
            _ => Self::Unknown,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, _) | (_, Self::True) => Self::True,
            (Self::False, Self::False) => Self::False,
            _ => Self::Unknown,
        }
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cmp {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

impl Cmp {
    /// The same comparison with its sides exchanged.
    fn mirrored(self) -> Self {
        match self {
            Self::Eq | Self::Ne => self,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
        }
    }

    fn holds(self, ordering: Option<Ordering>) -> Truth {
        let Some(ordering) = ordering else { return Truth::Unknown };
        Truth::of(match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
        })
    }

    /// For what is equal or not and has no order: texts and truth values.
    fn holds_unordered(self, equal: bool) -> Truth {
        match self {
            Self::Eq => Truth::of(equal),
            Self::Ne => Truth::of(!equal),
            _ => Truth::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Value<'a> {
    /// What cannot be told: a broken document, an overflow, a text that is no number.
    #[default]
    Unknown,
    /// Not there.
    Null,
    /// There, and of no use but for IS NULL: objects, arrays, bytes that are no text.
    Opaque,
    Truth(bool),
    Int(i64),
    Real(f64),
    /// From a header, where a number, a truth value and a text look the same.
    Header(&'a str),
    /// A text and nothing else: a literal.
    Literal(&'a str),
    /// A string in a document, without escapes.
    Json(&'a str),
    /// The same as it stands between its quotes, its escapes checked but not resolved.
    Escaped(&'a str),
}

/// Reads a number in decimal: whole if it is written so and fits 64 bits, else the nearest double.
pub(super) fn number(text: &str) -> Option<Value<'static>> {
    if let Ok(whole) = text.parse() {
        return Some(Value::Int(whole));
    }
    // Rust would read "inf" and "NaN" too.
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    text.parse().ok().filter(|real: &f64| real.is_finite()).map(Value::Real)
}

/// A word of a header as a truth value.
fn word(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

impl<'a> Value<'a> {
    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Header(text) | Self::Literal(text) | Self::Json(text) => Some(Cow::Borrowed(text)),
            Self::Escaped(raw) => json::unescape(raw).map(Cow::Owned),
            _ => None,
        }
    }

    /// As a number, if it is one or reads like one; a literal text is none.
    fn number(self) -> Option<Value<'static>> {
        match self {
            Self::Int(whole) => Some(Value::Int(whole)),
            Self::Real(real) => Some(Value::Real(real)),
            Self::Header(text) | Self::Json(text) => number(text),
            Self::Escaped(raw) => number(&json::unescape(raw)?),
            _ => None,
        }
    }

    /// As a condition of its own: TRUE, FALSE, or a header that says so.
    pub(super) fn truth(self) -> Truth {
        match self {
            Self::Truth(value) => Truth::of(value),
            Self::Header(text) => word(text).map_or(Truth::Unknown, Truth::of),
            _ => Truth::Unknown,
        }
    }

    pub(super) fn is_null(self) -> Truth {
        match self {
            Self::Unknown => Truth::Unknown,
            Self::Null => Truth::True,
            _ => Truth::False,
        }
    }

    /// `matches` over the text; what is there and no text is unlike every pattern.
    pub(super) fn like(self, matches: impl FnOnce(&str) -> bool) -> Truth {
        match self {
            Self::Unknown | Self::Null | Self::Opaque => Truth::Unknown,
            Self::Truth(_) | Self::Int(_) | Self::Real(_) => Truth::False,
            _ => self.text().map_or(Truth::Unknown, |text| Truth::of(matches(&text))),
        }
    }

    /// The number with a sign before it.
    pub(super) fn signed(self, negative: bool) -> Self {
        match self.number() {
            Some(Value::Int(whole)) if negative => whole.checked_neg().map_or(Self::Unknown, Self::Int),
            Some(Value::Real(real)) if negative => Self::Real(-real),
            number => number.unwrap_or_default(),
        }
    }
}

fn real(value: Value<'_>) -> Option<f64> {
    match value {
        // Java's numeric promotion, which section 3.8.1.1 asks for, rounds the same way.
        Value::Int(whole) => Some(whole as f64),
        Value::Real(real) => Some(real),
        _ => None,
    }
}

fn compare_numbers(cmp: Cmp, left: Value<'_>, right: Value<'_>) -> Truth {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => cmp.holds(Some(left.cmp(&right))),
        _ => cmp.holds(real(left).zip(real(right)).and_then(|(left, right)| left.partial_cmp(&right))),
    }
}

/// Compares two values as section 3.8.1.1 does: like with like, else FALSE; but what is not there, or comes as text
/// and does not read as what it is compared with, makes it UNKNOWN.
#[inline]
pub(super) fn compare(cmp: Cmp, left: Value<'_>, right: Value<'_>) -> Truth {
    use Value::{Escaped, Header, Int, Json, Literal, Null, Opaque, Real, Unknown};
    match (left, right) {
        (Unknown | Null | Opaque, _) | (_, Unknown | Null | Opaque) => Truth::Unknown,
        (Int(_) | Real(_), Int(_) | Real(_)) => compare_numbers(cmp, left, right),
        (Header(_) | Json(_) | Escaped(_), Int(_) | Real(_)) => {
            left.number().map_or(Truth::Unknown, |left| compare_numbers(cmp, left, right))
        }
        (Int(_) | Real(_), Header(_) | Json(_) | Escaped(_)) => compare(cmp.mirrored(), right, left),
        (Header(one), Header(other)) => match (number(one), number(other)) {
            (Some(left), Some(right)) => compare_numbers(cmp, left, right),
            _ => cmp.holds_unordered(one == other),
        },
        (Header(one) | Literal(one) | Json(one), Header(other) | Literal(other) | Json(other)) => {
            cmp.holds_unordered(one == other)
        }
        (Escaped(_), Header(_) | Literal(_) | Json(_) | Escaped(_))
        | (Header(_) | Literal(_) | Json(_), Escaped(_)) => cmp.holds_unordered(left.text() == right.text()),
        (Value::Truth(one), Value::Truth(other)) => cmp.holds_unordered(one == other),
        (Header(text), Value::Truth(truth)) | (Value::Truth(truth), Header(text)) => {
            word(text).map_or(Truth::Unknown, |said| cmp.holds_unordered(said == truth))
        }
        (Literal(_) | Json(_) | Escaped(_) | Int(_) | Real(_), Value::Truth(_))
        | (Value::Truth(_), Literal(_) | Json(_) | Escaped(_) | Int(_) | Real(_))
        | (Literal(_), Int(_) | Real(_))
        | (Int(_) | Real(_), Literal(_)) => Truth::False,
    }
}

/// Whole with whole stays whole and truncates towards zero, as in Java; what overflows or divides by zero is unknown.
pub(super) fn calculate<'a>(sum: Sum, left: Value<'_>, right: Value<'_>) -> Value<'a> {
    let (Some(left), Some(right)) = (left.number(), right.number()) else { return Value::Unknown };
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        let whole = match sum {
            Sum::Add => left.checked_add(right),
            Sum::Subtract => left.checked_sub(right),
            Sum::Multiply => left.checked_mul(right),
            Sum::Divide => left.checked_div(right),
        };
        return whole.map_or(Value::Unknown, Value::Int);
    }
    let (Some(left), Some(right)) = (real(left), real(right)) else { return Value::Unknown };
    let result = match sum {
        Sum::Add => left + right,
        Sum::Subtract => left - right,
        Sum::Multiply => left * right,
        Sum::Divide => left / right,
    };
    // Division by zero and overflow end here as infinities.
    if result.is_finite() { Value::Real(result) } else { Value::Unknown }
}
