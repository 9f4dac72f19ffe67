//! From tokens to a program: operator precedence over two explicit stacks, nothing recursive.

use super::Selector;
use super::error::{Fault, SelectorError};
use super::json::Path;
use super::lexer::{Lexeme, Lexer, Token, WHOLE};
use super::like::Pattern;
use super::program::{MAX_STACK, Op, Operand, Program, name_order};
use super::value::{Cmp, Sum};

/// What waits for its right side, from weak to strong as section 3.8.1.1 ranks them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Open,
    /// With the place of the jump that skips the right side.
    Or(usize),
    And(usize),
    Not,
    Compare(Cmp),
    /// Whether it is NOT BETWEEN, and whether its AND has been read.
    Between {
        negated: bool,
        bounded: bool,
    },
    Calculate(Sum),
    /// A sign; `true` is minus.
    Sign(bool),
}

const OPEN: u8 = 0;
const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARISON: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const SIGN: u8 = 7;

impl Operator {
    fn rank(self) -> u8 {
        match self {
            Self::Open => OPEN,
            Self::Or(_) => OR,
            Self::And(_) => AND,
            Self::Not => NOT,
            Self::Compare(_) | Self::Between { .. } => COMPARISON,
            Self::Calculate(Sum::Add | Sum::Subtract) => SUM,
            Self::Calculate(Sum::Multiply | Sum::Divide) => PRODUCT,
            Self::Sign(_) => SIGN,
        }
    }
}

/// What has been read and not been used yet.
#[derive(Clone, Copy, Debug)]
enum What {
    Value(Operand),
    /// A condition, on top of its stack; whether it is a comparison without parentheses.
    Condition {
        bare: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    what: What,
    start: usize,
    end: usize,
}

/// An operator and where it stands.
type Waiting = (Operator, usize, usize);

pub(super) struct Parser<'t> {
    lexer: Lexer<'t>,
    ahead: Lexeme,
    program: Program,
    waiting: Vec<Waiting>,
    pending: Vec<Pending>,
    terms: usize,
    nesting: usize,
    /// How high the two stacks are after the last operation.
    values: usize,
    truths: usize,
}

type Parsed<T> = Result<T, SelectorError>;

impl<'t> Parser<'t> {
    /// The program of a text that is not blank.
    pub(super) fn parse(text: &'t str) -> Parsed<Program> {
        let mut lexer = Lexer::new(text);
        let ahead = lexer.next()?;
        let mut parser = Self {
            lexer,
            ahead,
            program: Program::default(),
            waiting: Vec::new(),
            pending: Vec::new(),
            terms: 0,
            nesting: 0,
            values: 0,
            truths: 0,
        };
        while !parser.operand()? || !parser.operator()? {}
        parser.finish()
    }

    fn fail<T>(&self, start: usize, fault: Fault) -> Parsed<T> {
        Err(self.lexer.error(start, fault))
    }

    fn unexpected<T>(&self, lexeme: &Lexeme, wanted: &'static str, mend: &'static str) -> Parsed<T> {
        let found = self.lexer.excerpt(lexeme.start, lexeme.end);
        self.fail(lexeme.start, Fault::Unexpected { found, wanted, mend })
    }

    fn advance(&mut self) -> Parsed<Lexeme> {
        let ahead = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.ahead, ahead))
    }

    fn expect(&mut self, token: &Token, wanted: &'static str, mend: &'static str) -> Parsed<Lexeme> {
        if self.ahead.token == *token {
            return self.advance();
        }
        let ahead = self.ahead.clone();
        self.unexpected(&ahead, wanted, mend)
    }

    fn term(&mut self, lexeme: &Lexeme) -> Parsed<()> {
        self.terms += 1;
        if self.terms > Selector::MAX_TERMS {
            let found = self.lexer.excerpt(lexeme.start, lexeme.end);
            return self.fail(lexeme.start, Fault::TooManyTerms { found, limit: Selector::MAX_TERMS });
        }
        Ok(())
    }

    fn emit(&mut self, op: Op, start: usize) -> Parsed<()> {
        let taken =
            |operands: &[Operand]| operands.iter().filter(|operand| **operand == Operand::Computed).count();
        let values = match op {
            Op::Compare(_, left, right) | Op::Calculate(_, left, right) => taken(&[left, right]),
            Op::Between(value, lower, upper) => taken(&[value, lower, upper]),
            Op::In(value, ..)
            | Op::Like(value, _)
            | Op::IsNull(value)
            | Op::Test(value)
            | Op::Sign(_, value) => taken(&[value]),
            Op::Lift | Op::Not | Op::And | Op::Or | Op::UnlessFalse(_) | Op::UnlessTrue(_) => 0,
        };
        self.values = self.values.saturating_sub(values);
        match op {
            Op::Calculate(..) | Op::Sign(..) => self.values += 1,
            Op::Lift => {
                self.values += 1;
                self.truths = self.truths.saturating_sub(1);
            }
            Op::And | Op::Or => self.truths = self.truths.saturating_sub(1),
            Op::Not | Op::UnlessFalse(_) | Op::UnlessTrue(_) => {}
            _ => self.truths += 1,
        }
        let height = self.values.max(self.truths);
        if height > MAX_STACK {
            return self.fail(start, Fault::TooDeep { limit: Selector::MAX_NESTING });
        }
        self.program.height = self.program.height.max(height);
        self.program.ops.push(op);
        Ok(())
    }

    /// Reads one token where a value belongs; true when one has been read.
    fn operand(&mut self) -> Parsed<bool> {
        let lexeme = self.advance()?;
        let (start, end) = (lexeme.start, lexeme.end);
        let operand = match &lexeme.token {
            Token::Open => {
                self.nesting += 1;
                if self.nesting > Selector::MAX_NESTING {
                    return self.fail(start, Fault::TooDeep { limit: Selector::MAX_NESTING });
                }
                self.waiting.push((Operator::Open, start, end));
                return Ok(false);
            }
            Token::Not if self.waiting.last().is_some_and(|(operator, ..)| operator.rank() > NOT) => {
                return self.unexpected(&lexeme, "a value", "put the NOT and its condition in parentheses");
            }
            Token::Not => {
                self.waiting.push((Operator::Not, start, end));
                return Ok(false);
            }
            Token::Plus | Token::Minus => {
                let negative = lexeme.token == Token::Minus;
                self.waiting.push((Operator::Sign(negative), start, end));
                return Ok(false);
            }
            Token::Whole(magnitude) => self.whole(*magnitude, &lexeme)?,
            Token::Real(real) => Operand::Real(*real),
            Token::Text(text) => self.text(text),
            Token::True => Operand::Truth(true),
            Token::False => Operand::Truth(false),
            Token::Name { name, quoted } => {
                if !quoted && name.eq_ignore_ascii_case("JSON") && self.ahead.token == Token::Open {
                    self.json()?
                } else {
                    self.name(name)
                }
            }
            Token::Null => {
                return self.fail(start, Fault::Null { found: self.lexer.excerpt(start, end) });
            }
            _ => {
                return self.unexpected(
                    &lexeme,
                    "a value",
                    "write a name, a number, a text in single quotes, TRUE, FALSE or JSON('$.path')",
                );
            }
        };
        self.term(&lexeme)?;
        self.pending.push(Pending { what: What::Value(operand), start, end });
        Ok(true)
    }

    /// A whole number; the smallest has no positive counterpart and takes its sign along.
    fn whole(&mut self, magnitude: u64, lexeme: &Lexeme) -> Parsed<Operand> {
        if let Some((Operator::Sign(true), ..)) = self.waiting.last()
            && let Some(whole) = 0_i64.checked_sub_unsigned(magnitude)
        {
            self.waiting.pop();
            return Ok(Operand::Int(whole));
        }
        match i64::try_from(magnitude) {
            Ok(whole) => Ok(Operand::Int(whole)),
            Err(_) => {
                let found = self.lexer.excerpt(lexeme.start, lexeme.end);
                self.fail(lexeme.start, Fault::Range { found, mend: WHOLE })
            }
        }
    }

    fn text(&mut self, text: &str) -> Operand {
        self.program.texts.push(text.into());
        // At most a term each, so that every place fits.
        Operand::Text((self.program.texts.len() - 1) as u16)
    }

    fn name(&mut self, name: &str) -> Operand {
        match name {
            "destination" | "topic" => return Operand::Topic,
            "JMSDeliveryMode" => return Operand::DeliveryMode,
            "content-type" | "reply-to" | "JMSReplyTo" | "correlation-id" | "JMSCorrelationID" => {
                self.program.wants_fields = true;
                return match name {
                    "content-type" => Operand::ContentType,
                    "reply-to" | "JMSReplyTo" => Operand::ReplyTo,
                    _ => Operand::CorrelationId,
                };
            }
            _ => {}
        }
        let property = match name {
            "JMSType" => "type",
            "JMSPriority" => "priority",
            "JMSTimestamp" => "timestamp",
            name => name,
        };
        let names = &mut self.program.names;
        let place = names.iter().position(|known| **known == *property).unwrap_or_else(|| {
            names.push(property.into());
            names.len() - 1
        }) as u16;
        if name == "JMSPriority" { Operand::Priority(place) } else { Operand::Property(place) }
    }

    /// `('$.path')` behind JSON.
    fn json(&mut self) -> Parsed<Operand> {
        self.advance()?;
        let lexeme = self.advance()?;
        let Token::Text(path) = &lexeme.token else {
            return self.unexpected(&lexeme, "a path", "write JSON('$.path') with the path in single quotes");
        };
        let path = match Path::new(path) {
            Ok(path) => path,
            Err((what, at)) => {
                let found = self.lexer.excerpt(lexeme.start, lexeme.end);
                return self.fail(lexeme.start, Fault::Path { found, what, at });
            }
        };
        self.expect(&Token::Close, "')'", "write JSON('$.path')")?;
        self.program.paths.push(path);
        Ok(Operand::Json((self.program.paths.len() - 1) as u16))
    }

    /// Reads on behind a value up to the next place for one; true when the text is at its end.
    fn operator(&mut self) -> Parsed<bool> {
        loop {
            let lexeme = self.advance()?;
            let (start, end) = (lexeme.start, lexeme.end);
            let operator = match lexeme.token {
                Token::End => return Ok(true),
                Token::Close => {
                    self.close(&lexeme)?;
                    continue;
                }
                Token::Is => {
                    let negated = self.negation()?;
                    let null = self.expect(&Token::Null, "NULL", "write IS NULL or IS NOT NULL")?;
                    self.test("IS NULL", &lexeme, null.end, negated, Op::IsNull)?;
                    continue;
                }
                Token::In => {
                    self.is_in(&lexeme, false)?;
                    continue;
                }
                Token::Like => {
                    self.like(&lexeme, false)?;
                    continue;
                }
                Token::Not => {
                    let operator = self.advance()?;
                    match operator.token {
                        Token::In => self.is_in(&operator, true)?,
                        Token::Like => self.like(&operator, true)?,
                        Token::Between => {
                            self.compared(&operator)?;
                            let between = Operator::Between { negated: true, bounded: false };
                            self.waiting.push((between, start, operator.end));
                            return Ok(false);
                        }
                        _ => {
                            return self.unexpected(
                                &lexeme,
                                "an operator",
                                "write NOT before the whole condition, or NOT IN, NOT LIKE, NOT BETWEEN",
                            );
                        }
                    }
                    continue;
                }
                Token::Between => {
                    self.compared(&lexeme)?;
                    Operator::Between { negated: false, bounded: false }
                }
                Token::Compare(cmp) => {
                    self.compared(&lexeme)?;
                    Operator::Compare(cmp)
                }
                Token::And => {
                    self.reduce(SUM)?;
                    if let Some((Operator::Between { bounded: bounded @ false, .. }, ..)) =
                        self.waiting.last_mut()
                    {
                        *bounded = true;
                        return Ok(false);
                    }
                    self.reduce(AND)?;
                    let jump = self.branch(Op::UnlessFalse(0), start)?;
                    Operator::And(jump)
                }
                Token::Or => {
                    self.reduce(OR)?;
                    let jump = self.branch(Op::UnlessTrue(0), start)?;
                    Operator::Or(jump)
                }
                Token::Plus | Token::Minus => {
                    self.reduce(SUM)?;
                    Operator::Calculate(if lexeme.token == Token::Plus { Sum::Add } else { Sum::Subtract })
                }
                Token::Star | Token::Slash => {
                    self.reduce(PRODUCT)?;
                    Operator::Calculate(if lexeme.token == Token::Star { Sum::Multiply } else { Sum::Divide })
                }
                _ => {
                    return self.unexpected(
                        &lexeme,
                        "an operator",
                        "join two conditions with AND or OR, and double a quote inside a text",
                    );
                }
            };
            self.waiting.push((operator, start, end));
            return Ok(false);
        }
    }

    fn negation(&mut self) -> Parsed<bool> {
        let negated = self.ahead.token == Token::Not;
        if negated {
            self.advance()?;
        }
        Ok(negated)
    }

    /// Makes the left side of AND or OR a condition and leaves room for the jump over the right side.
    fn branch(&mut self, op: Op, start: usize) -> Parsed<usize> {
        let left = self.take(start)?;
        self.condition(&left)?;
        self.pending.push(Pending { what: What::Condition { bare: false }, ..left });
        self.emit(op, start)?;
        Ok(self.program.ops.len() - 1)
    }

    /// Before a comparison: what binds stronger is done, and its left side is no comparison itself.
    fn compared(&mut self, operator: &Lexeme) -> Parsed<()> {
        self.reduce(COMPARISON)?;
        if let Some(Pending { what: What::Condition { bare: true }, .. }) = self.pending.last() {
            let found = self.lexer.excerpt(operator.start, operator.end);
            return self.fail(operator.start, Fault::Chain { found });
        }
        Ok(())
    }

    fn close(&mut self, lexeme: &Lexeme) -> Parsed<()> {
        self.reduce(OR)?;
        let Some((Operator::Open, start, _)) = self.waiting.pop() else {
            return self.fail(lexeme.start, Fault::Unopened);
        };
        self.nesting -= 1;
        if let Some(inside) = self.pending.last_mut() {
            inside.start = start;
            inside.end = lexeme.end;
            if let What::Condition { bare } = &mut inside.what {
                *bare = false;
            }
        }
        Ok(())
    }

    fn is_in(&mut self, operator: &Lexeme, negated: bool) -> Parsed<()> {
        self.expect(&Token::Open, "'('", "write the list in parentheses: IN ('a', 'b')")?;
        let from = self.program.items.len();
        loop {
            let sign = self.ahead.clone();
            if matches!(sign.token, Token::Plus | Token::Minus) {
                self.advance()?;
            }
            let lexeme = self.advance()?;
            let negative = sign.token == Token::Minus;
            let signed = matches!(sign.token, Token::Plus | Token::Minus);
            let item = match &lexeme.token {
                Token::Whole(magnitude) => {
                    if negative {
                        self.waiting.push((Operator::Sign(true), sign.start, sign.end));
                    }
                    self.whole(*magnitude, &lexeme)?
                }
                Token::Real(real) => Operand::Real(if negative { -real } else { *real }),
                Token::Text(text) if !signed => self.text(text),
                _ => {
                    return self.unexpected(
                        &lexeme,
                        "a text or a number",
                        "list literals only: IN ('a', 'b', 3)",
                    );
                }
            };
            self.term(&lexeme)?;
            self.program.items.push(item);
            if self.ahead.token != Token::Comma {
                break;
            }
            self.advance()?;
        }
        let close = self.expect(&Token::Close, "',' or ')'", "end the list with ')'")?;
        // At most a term each, so that both fit.
        let count = (self.program.items.len() - from) as u16;
        self.test("IN", operator, close.end, negated, |operand| Op::In(operand, from as u16, count))
    }

    fn like(&mut self, operator: &Lexeme, negated: bool) -> Parsed<()> {
        let lexeme = self.advance()?;
        let Token::Text(text) = &lexeme.token else {
            return self.unexpected(&lexeme, "a pattern", "write the pattern in single quotes: LIKE 'a%'");
        };
        self.term(&lexeme)?;
        let found = self.lexer.excerpt(lexeme.start, lexeme.end);
        if text.len() > Selector::MAX_PATTERN_BYTES {
            let (bytes, limit) = (text.len(), Selector::MAX_PATTERN_BYTES);
            return self.fail(lexeme.start, Fault::PatternTooLong { found, bytes, limit });
        }
        let mut escape = None;
        let mut end = lexeme.end;
        if self.ahead.token == Token::Escape {
            self.advance()?;
            let character = self.advance()?;
            let Token::Text(text) = &character.token else {
                return self.unexpected(&character, "the escape character", "write it in single quotes");
            };
            let mut chars = text.chars();
            escape = chars.next();
            if escape.is_none() || chars.next().is_some() {
                let found = self.lexer.excerpt(character.start, character.end);
                return self.fail(character.start, Fault::EscapeLength { found });
            }
            end = character.end;
        }
        let Some(pattern) = Pattern::new(text, escape) else {
            return self.fail(lexeme.start, Fault::EscapeUse { found, escape: escape.unwrap_or_default() });
        };
        self.program.patterns.push(pattern);
        let place = (self.program.patterns.len() - 1) as u16;
        self.test("LIKE", operator, end, negated, |operand| Op::Like(operand, place))
    }

    /// What is asked of a name or JSON() alone.
    fn test(
        &mut self,
        operator: &'static str,
        lexeme: &Lexeme,
        end: usize,
        negated: bool,
        op: impl FnOnce(Operand) -> Op,
    ) -> Parsed<()> {
        self.compared(lexeme)?;
        let tested = self.take(lexeme.start)?;
        let operand = match tested.what {
            What::Value(operand) if is_named(operand) => operand,
            _ => {
                let found = self.lexer.excerpt(tested.start, tested.end);
                return self.fail(tested.start, Fault::NotNamed { operator, found });
            }
        };
        self.emit(op(operand), lexeme.start)?;
        self.compare_done(negated, tested.start, end)
    }

    fn compare_done(&mut self, negated: bool, start: usize, end: usize) -> Parsed<()> {
        if negated {
            self.emit(Op::Not, start)?;
        }
        self.pending.push(Pending { what: What::Condition { bare: true }, start, end });
        Ok(())
    }

    /// Does what waits and binds at least as strongly as `rank`.
    fn reduce(&mut self, rank: u8) -> Parsed<()> {
        while let Some((operator, start, end)) = self.waiting.pop_if(|(operator, ..)| operator.rank() >= rank)
        {
            let right = self.take(start)?;
            match operator {
                Operator::Open => {}
                Operator::Or(jump) | Operator::And(jump) => {
                    let left = self.take(start)?;
                    self.condition(&right)?;
                    let or = matches!(operator, Operator::Or(_));
                    self.emit(if or { Op::Or } else { Op::And }, start)?;
                    // An operation takes at least two bytes of text, so that every place fits.
                    let target = self.program.ops.len() as u16;
                    if let Some(Op::UnlessFalse(place) | Op::UnlessTrue(place)) =
                        self.program.ops.get_mut(jump)
                    {
                        *place = target;
                    }
                    let what = What::Condition { bare: false };
                    self.pending.push(Pending { what, start: left.start, end: right.end });
                }
                Operator::Not => {
                    self.condition(&right)?;
                    self.emit(Op::Not, start)?;
                    self.pending.push(Pending {
                        what: What::Condition { bare: false },
                        start,
                        end: right.end,
                    });
                }
                Operator::Compare(cmp) => {
                    let left = self.take(start)?;
                    // Conditions are equal or not, so that it does not matter which is lifted first.
                    let one = self.value(&right)?;
                    let other = self.value(&left)?;
                    self.emit(Op::Compare(cmp, other, one), start)?;
                    self.compare_done(false, left.start, right.end)?;
                }
                Operator::Between { bounded: false, .. } => {
                    let found = self.lexer.excerpt(start, end);
                    let (wanted, mend) = ("a range", "write BETWEEN lower AND upper");
                    return self.fail(start, Fault::Unexpected { found, wanted, mend });
                }
                Operator::Between { negated, .. } => {
                    let lower = self.take(start)?;
                    let value = self.take(start)?;
                    let op = Op::Between(self.number(&value)?, self.number(&lower)?, self.number(&right)?);
                    self.emit(op, start)?;
                    self.compare_done(negated, value.start, right.end)?;
                }
                Operator::Calculate(sum) => {
                    let left = self.take(start)?;
                    let op = Op::Calculate(sum, self.number(&left)?, self.number(&right)?);
                    self.emit(op, start)?;
                    let what = What::Value(Operand::Computed);
                    self.pending.push(Pending { what, start: left.start, end: right.end });
                }
                Operator::Sign(negative) => {
                    let operand = match self.number(&right)? {
                        Operand::Int(whole) if !negative => Operand::Int(whole),
                        Operand::Real(real) => Operand::Real(if negative { -real } else { real }),
                        operand => {
                            self.emit(Op::Sign(negative, operand), start)?;
                            Operand::Computed
                        }
                    };
                    self.pending.push(Pending { what: What::Value(operand), start, end: right.end });
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, start: usize) -> Parsed<Pending> {
        match self.pending.pop() {
            Some(pending) => Ok(pending),
            // Values and operators alternate, so that there always is one; if not, it is said where.
            None => self.fail(start, Fault::Unopened),
        }
    }

    fn mismatch<T>(&self, pending: &Pending, wanted: &'static str, mend: &'static str) -> Parsed<T> {
        let is = match pending.what {
            What::Condition { .. } => "a condition",
            What::Value(Operand::Text(_)) => "a text",
            What::Value(Operand::Truth(_)) => "a truth value",
            What::Value(_) => "a number",
        };
        let found = self.lexer.excerpt(pending.start, pending.end);
        self.fail(pending.start, Fault::Kind { found, is, wanted, mend })
    }

    /// Puts it on the stack of conditions, unless it is there.
    fn condition(&mut self, pending: &Pending) -> Parsed<()> {
        match pending.what {
            What::Condition { .. } => Ok(()),
            What::Value(operand) if is_named(operand) || matches!(operand, Operand::Truth(_)) => {
                self.emit(Op::Test(operand), pending.start)
            }
            What::Value(_) => self.mismatch(pending, "a condition", "compare it with something"),
        }
    }

    /// As a side of a comparison.
    fn value(&mut self, pending: &Pending) -> Parsed<Operand> {
        match pending.what {
            What::Value(operand) => Ok(operand),
            What::Condition { .. } => {
                self.emit(Op::Lift, pending.start)?;
                Ok(Operand::Computed)
            }
        }
    }

    /// As a part of a calculation or a bound.
    fn number(&mut self, pending: &Pending) -> Parsed<Operand> {
        match pending.what {
            What::Value(Operand::Text(_)) => self.mismatch(
                pending,
                "a number",
                "write the number without quotes, or compare texts with = or <>",
            ),
            What::Value(Operand::Truth(_)) | What::Condition { .. } => {
                self.mismatch(pending, "a number", "compute with numbers, names and JSON() only")
            }
            What::Value(operand) => Ok(operand),
        }
    }

    fn finish(mut self) -> Parsed<Program> {
        self.reduce(OR)?;
        if let Some((Operator::Open, start, _)) = self.waiting.last() {
            return self.fail(*start, Fault::Unclosed);
        }
        let whole = self.take(0)?;
        self.condition(&whole)?;
        Ok(self.sorted())
    }

    /// The program with its names in the order in which they are searched.
    fn sorted(self) -> Program {
        let mut program = self.program;
        let mut order: Vec<usize> = (0..program.names.len()).collect();
        let name = |place: usize| program.names.get(place).map_or("", |name| name);
        order.sort_by(|one, other| name_order(name(*one), name(*other)));
        let place_of = |old: &mut u16| {
            if let Some(new) = order.iter().position(|place| *place == usize::from(*old)) {
                *old = new as u16;
            }
        };
        let moved = |operand: &mut Operand| {
            if let Operand::Property(place) | Operand::Priority(place) = operand {
                place_of(place);
            }
        };
        for op in &mut program.ops {
            match op {
                Op::Compare(_, left, right) | Op::Calculate(_, left, right) => {
                    moved(left);
                    moved(right);
                }
                Op::Between(value, lower, upper) => {
                    moved(value);
                    moved(lower);
                    moved(upper);
                }
                Op::In(value, ..) | Op::Like(value, _) | Op::IsNull(value) | Op::Test(value) => moved(value),
                Op::Sign(_, value) => moved(value),
                Op::Lift | Op::Not | Op::And | Op::Or | Op::UnlessFalse(_) | Op::UnlessTrue(_) => {}
            }
        }
        program.names.sort_by(|one, other| name_order(one, other));
        program
    }
}

fn is_named(operand: Operand) -> bool {
    !matches!(
        operand,
        Operand::Computed | Operand::Int(_) | Operand::Real(_) | Operand::Truth(_) | Operand::Text(_)
    )
}
