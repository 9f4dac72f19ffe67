//! A compiled selector and its evaluation: a flat list of operations, two small stacks, jumps only forwards.
//!
//! An operation takes its operands from where they are (a literal, a field, the payload), so that the usual comparison
//! of a header with a literal is one operation; only what an operation computed passes over a stack. The parser counts
//! how high the stacks get, so that a short program runs in a small frame and none can run out of one.

use super::json::Path;
use super::like::Pattern;
use super::value::{Cmp, Sum, Truth, Value, calculate, compare};
use crate::message::{Field, Fields};

/// Highest that either stack may get; the parser refuses a program that needs more.
pub(super) const MAX_STACK: usize = 160;
/// A program that needs no more than this of names and stack runs in the small frame.
const FEW: usize = 8;
/// Most names in a program: a term each.
const MAX_NAMES: usize = super::Selector::MAX_TERMS;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operand {
    /// The top of the value stack.
    Computed,
    Int(i64),
    Real(f64),
    Truth(bool),
    /// A place among the program's texts.
    Text(u16),
    /// A place among the program's paths.
    Json(u16),
    Topic,
    ContentType,
    ReplyTo,
    CorrelationId,
    DeliveryMode,
    /// A user property: a place among the program's names.
    Property(u16),
    /// JMSPriority: the user property at that place, or what JMS gives a message without (section 3.4.10).
    Priority(u16),
}

impl Operand {
    /// Whether it is something of the message's, known by a name or a path.
    pub(super) fn is_named(self) -> bool {
        !matches!(self, Self::Computed | Self::Int(_) | Self::Real(_) | Self::Truth(_) | Self::Text(_))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Compare(Cmp, Operand, Operand),
    /// The value, the lower and the upper bound, both included.
    Between(Operand, Operand, Operand),
    /// In how many of the program's items, from which on.
    In(Operand, u16, u16),
    Like(Operand, u16),
    IsNull(Operand),
    /// A value as a condition.
    Test(Operand),
    Calculate(Sum, Operand, Operand),
    /// A sign; `true` is minus.
    Sign(bool, Operand),
    /// A condition as a value.
    Lift,
    Not,
    And,
    Or,
    /// Goes on at that operation, keeping the condition, if it is FALSE already.
    UnlessFalse(u16),
    /// The same if it is TRUE.
    UnlessTrue(u16),
}

/// The program and what its operations refer to.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) ops: Vec<Op>,
    /// User properties, sorted as [`name_order`] sorts.
    pub(super) names: Vec<Box<str>>,
    pub(super) texts: Vec<Box<str>>,
    pub(super) paths: Vec<Path>,
    pub(super) patterns: Vec<Pattern>,
    /// The members of IN lists, one list after the other.
    pub(super) items: Vec<Operand>,
    /// Highest that a stack gets.
    pub(super) height: usize,
    /// Whether anything but user properties is asked of the fields.
    pub(super) wants_fields: bool,
}

/// By length first: it tells most names apart without touching them.
pub(super) fn name_order(one: &str, other: &str) -> std::cmp::Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// What of a message is no field.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) persistent: bool,
}

/// What one evaluation works on: room for `N` names and for stacks `N` high.
struct Frame<'a, const N: usize> {
    parts: Parts<'a>,
    properties: [Option<&'a str>; N],
    content_type: Option<&'a str>,
    reply_to: Option<&'a str>,
    correlation: Option<&'a [u8]>,
    values: Stack<Value<'a>, N>,
    truths: Stack<Truth, N>,
    /// Bytes and characters that may still be looked at.
    steps: usize,
}

struct Stack<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy + Default, const N: usize> Stack<T, N> {
    fn new() -> Self {
        Self { items: [T::default(); N], len: 0 }
    }

    fn push(&mut self, item: T) {
        if let Some(place) = self.items.get_mut(self.len) {
            *place = item;
            self.len += 1;
        }
    }

    fn pop(&mut self) -> T {
        self.len = self.len.saturating_sub(1);
        self.items.get(self.len).copied().unwrap_or_default()
    }

    fn top(&self) -> T {
        self.items.get(self.len.wrapping_sub(1)).copied().unwrap_or_default()
    }
}

impl Program {
    pub(super) fn run(&self, parts: Parts<'_>, fields: &Fields<'_>) -> bool {
        // Two sizes, since an evaluation pays for clearing its frame.
        if self.names.len() <= FEW && self.height <= FEW {
            self.run_in::<FEW>(parts, fields)
        } else {
            self.run_in::<MAX_NAMES>(parts, fields)
        }
    }

    fn run_in<const N: usize>(&self, parts: Parts<'_>, fields: &Fields<'_>) -> bool {
        let mut frame = Frame::<N> {
            parts,
            properties: [None; N],
            content_type: None,
            reply_to: None,
            correlation: None,
            values: Stack::new(),
            truths: Stack::new(),
            steps: super::Selector::MAX_STEPS,
        };
        self.resolve(&mut frame, fields);
        let mut at = 0;
        while let Some(op) = self.ops.get(at) {
            at = self.step(*op, &mut frame).map_or(at + 1, usize::from);
            if frame.steps == 0 {
                return false;
            }
        }
        frame.truths.pop() == Truth::True
    }

    /// Finds every name in one pass over the fields, which ends as soon as there is nothing left to find.
    fn resolve<'a, const N: usize>(&self, frame: &mut Frame<'a, N>, fields: &Fields<'a>) {
        let mut missing = self.names.len();
        if missing == 0 && !self.wants_fields {
            return;
        }
        for field in fields.iter() {
            match field {
                Field::UserProperty(name, value) => {
                    let place = if self.names.len() <= FEW {
                        self.names.iter().position(|wanted| **wanted == *name)
                    } else {
                        self.names.binary_search_by(|wanted| name_order(wanted, name)).ok()
                    };
                    let Some(property) = place.and_then(|place| frame.properties.get_mut(place)) else {
                        continue;
                    };
                    // The first of a name counts, as in STOMP.
                    if property.is_none() {
                        *property = Some(value);
                        missing -= 1;
                        if missing == 0 && !self.wants_fields {
                            return;
                        }
                    }
                }
                Field::ContentType(text) => frame.content_type = Some(text),
                Field::ResponseTopic(text) => frame.reply_to = Some(text),
                Field::CorrelationData(bytes) => frame.correlation = Some(bytes),
                Field::PayloadFormat(_) => {}
            }
        }
    }

    #[inline]
    fn value<'a, const N: usize>(&'a self, operand: Operand, frame: &mut Frame<'a, N>) -> Value<'a> {
        let header = |text: Option<&'a str>| text.map_or(Value::Null, Value::Header);
        let property = |place: u16| frame.properties.get(usize::from(place)).copied().flatten();
        let value = match operand {
            Operand::Computed => frame.values.pop(),
            Operand::Int(whole) => Value::Int(whole),
            Operand::Real(real) => Value::Real(real),
            Operand::Truth(truth) => Value::Truth(truth),
            Operand::Text(place) => {
                self.texts.get(usize::from(place)).map_or(Value::Unknown, |text| Value::Literal(text))
            }
            Operand::Json(place) => self
                .paths
                .get(usize::from(place))
                .map_or(Value::Unknown, |path| path.find(frame.parts.payload, &mut frame.steps)),
            Operand::Topic => Value::Header(frame.parts.topic),
            Operand::ContentType => header(frame.content_type),
            Operand::ReplyTo => header(frame.reply_to),
            Operand::CorrelationId => frame
                .correlation
                .map_or(Value::Null, |bytes| str::from_utf8(bytes).map_or(Value::Opaque, Value::Header)),
            Operand::DeliveryMode => {
                Value::Literal(if frame.parts.persistent { "PERSISTENT" } else { "NON_PERSISTENT" })
            }
            Operand::Property(place) => header(property(place)),
            Operand::Priority(place) => property(place).map_or(Value::Int(4), Value::Header),
        };
        if let Value::Header(text) = value {
            frame.steps = frame.steps.saturating_sub(text.len());
        }
        value
    }

    /// Does one operation and says where to go on, if not at the next.
    #[inline]
    fn step<'a, const N: usize>(&'a self, op: Op, frame: &mut Frame<'a, N>) -> Option<u16> {
        let truth = match op {
            // Of two computed operands the right one was pushed last.
            Op::Compare(cmp, left, right) => {
                let right = self.value(right, frame);
                let left = self.value(left, frame);
                compare(cmp, left, right)
            }
            Op::Between(value, lower, upper) => {
                let upper = self.value(upper, frame);
                let lower = self.value(lower, frame);
                let value = self.value(value, frame);
                compare(Cmp::Ge, value, lower).and(compare(Cmp::Le, value, upper))
            }
            Op::In(value, from, count) => {
                let value = self.value(value, frame);
                let items = self.items.iter().skip(usize::from(from)).take(usize::from(count));
                let mut found = Truth::False;
                for item in items {
                    let item = self.value(*item, frame);
                    found = found.or(compare(Cmp::Eq, value, item));
                    if found == Truth::True {
                        break;
                    }
                }
                found
            }
            Op::Like(value, pattern) => {
                let value = self.value(value, frame);
                match self.patterns.get(usize::from(pattern)) {
                    // Out of steps, the whole evaluation is over.
                    Some(pattern) => value.like(|text| pattern.matches(text, &mut frame.steps) == Some(true)),
                    None => Truth::Unknown,
                }
            }
            Op::IsNull(value) => self.value(value, frame).is_null(),
            Op::Test(value) => self.value(value, frame).truth(),
            Op::Calculate(sum, left, right) => {
                let right = self.value(right, frame);
                let left = self.value(left, frame);
                frame.values.push(calculate(sum, left, right));
                return None;
            }
            Op::Sign(negative, value) => {
                let value = self.value(value, frame);
                frame.values.push(value.signed(negative));
                return None;
            }
            Op::Lift => {
                frame.values.push(match frame.truths.pop() {
                    Truth::True => Value::Truth(true),
                    Truth::False => Value::Truth(false),
                    Truth::Unknown => Value::Unknown,
                });
                return None;
            }
            Op::Not => frame.truths.pop().not(),
            Op::And => frame.truths.pop().and(frame.truths.pop()),
            Op::Or => frame.truths.pop().or(frame.truths.pop()),
            Op::UnlessFalse(target) => return (frame.truths.top() == Truth::False).then_some(target),
            Op::UnlessTrue(target) => return (frame.truths.top() == Truth::True).then_some(target),
        };
        frame.truths.push(truth);
        None
    }
}
