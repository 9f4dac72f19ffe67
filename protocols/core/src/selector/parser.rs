//! From tokens to a program: operator precedence over two explicit stacks, nothing recursive.

use super::Selector;
use super::builder::Builder;
use super::error::{Fault, SelectorError};
use super::json::Path;
use super::lexer::{Lexeme, Lexer, Token, WHOLE};
use super::like::Pattern;
use super::operator::{AND, COMPARISON, NOT, OR, Operator, PRODUCT, SUM};
use super::program::{Op, Operand, Program};
use super::value::Sum;

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
    builder: Builder,
    waiting: Vec<Waiting>,
    pending: Vec<Pending>,
    terms: usize,
    nesting: usize,
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
            builder: Builder::default(),
            waiting: Vec::new(),
            pending: Vec::new(),
            terms: 0,
            nesting: 0,
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
        if self.builder.emit(op) {
            return Ok(());
        }
        self.fail(start, Fault::TooDeep { limit: Selector::MAX_NESTING })
    }

    /// Reads one token where a value belongs; true when one has been read.
    fn operand(&mut self) -> Parsed<bool> {
        let lexeme = self.advance()?;
        let (mut start, mut end) = (lexeme.start, lexeme.end);
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
            Token::Whole(magnitude) => {
                // The smallest number has no positive counterpart, so that a number takes its sign along.
                let sign = self.waiting.pop_if(|(operator, ..)| *operator == Operator::Sign(true));
                start = sign.map_or(start, |(_, start, _)| start);
                self.whole(*magnitude, sign.is_some(), &lexeme)?
            }
            Token::Real(real) => Operand::Real(*real),
            Token::Text(text) => self.builder.text(text),
            Token::True => Operand::Truth(true),
            Token::False => Operand::Truth(false),
            Token::Name { name, quoted } => {
                if !quoted && name.eq_ignore_ascii_case("JSON") && self.ahead.token == Token::Open {
                    let operand;
                    (operand, end) = self.json()?;
                    operand
                } else {
                    self.builder.name(name)
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

    fn whole(&self, magnitude: u64, negative: bool, lexeme: &Lexeme) -> Parsed<Operand> {
        let whole =
            if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
        match whole {
            Some(whole) => Ok(Operand::Int(whole)),
            None => {
                let found = self.lexer.excerpt(lexeme.start, lexeme.end);
                self.fail(lexeme.start, Fault::Range { found, mend: WHOLE })
            }
        }
    }

    /// `('$.path')` behind JSON, and where it ends.
    fn json(&mut self) -> Parsed<(Operand, usize)> {
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
        let close = self.expect(&Token::Close, "')'", "write JSON('$.path')")?;
        Ok((self.builder.path(path), close.end))
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
                    let tested = self.tested("IS NULL", &lexeme)?;
                    let negated = self.ahead.token == Token::Not;
                    if negated {
                        self.advance()?;
                    }
                    let null = self.expect(&Token::Null, "NULL", "write IS NULL or IS NOT NULL")?;
                    self.test(&tested, null.end, negated, Op::IsNull)?;
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

    /// Makes the left side of AND or OR a condition and leaves room for the jump over the right side.
    fn branch(&mut self, op: Op, start: usize) -> Parsed<u16> {
        let left = self.take(start)?;
        self.condition(&left)?;
        self.pending.push(Pending { what: What::Condition { bare: false }, ..left });
        let jump = self.builder.here();
        self.emit(op, start)?;
        Ok(jump)
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
        let tested = self.tested("IN", operator)?;
        self.expect(&Token::Open, "'('", "write the list in parentheses: IN ('a', 'b')")?;
        let mut items = Vec::new();
        loop {
            let sign = self.ahead.clone();
            if matches!(sign.token, Token::Plus | Token::Minus) {
                self.advance()?;
            }
            let lexeme = self.advance()?;
            let negative = sign.token == Token::Minus;
            let signed = matches!(sign.token, Token::Plus | Token::Minus);
            let item = match &lexeme.token {
                Token::Whole(magnitude) => self.whole(*magnitude, negative, &lexeme)?,
                Token::Real(real) => Operand::Real(if negative { -real } else { *real }),
                Token::Text(text) if !signed => self.builder.text(text),
                _ => {
                    return self.unexpected(
                        &lexeme,
                        "a text or a number",
                        "list literals only: IN ('a', 'b', 3)",
                    );
                }
            };
            self.term(&lexeme)?;
            items.push(item);
            if self.ahead.token != Token::Comma {
                break;
            }
            self.advance()?;
        }
        let close = self.expect(&Token::Close, "',' or ')'", "end the list with ')'")?;
        let (from, count) = self.builder.items(&items);
        self.test(&tested, close.end, negated, |operand| Op::In(operand, from, count))
    }

    fn like(&mut self, operator: &Lexeme, negated: bool) -> Parsed<()> {
        let tested = self.tested("LIKE", operator)?;
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
        let place = self.builder.pattern(pattern);
        self.test(&tested, end, negated, |operand| Op::Like(operand, place))
    }

    /// What LIKE, IN and IS NULL are asked of: a name or JSON() alone.
    fn tested(&mut self, operator: &'static str, lexeme: &Lexeme) -> Parsed<(Operand, usize)> {
        self.compared(lexeme)?;
        let tested = self.take(lexeme.start)?;
        match tested.what {
            What::Value(operand) if operand.is_named() => Ok((operand, tested.start)),
            _ => {
                let found = self.lexer.excerpt(tested.start, tested.end);
                self.fail(tested.start, Fault::NotNamed { operator, found })
            }
        }
    }

    fn test(
        &mut self,
        tested: &(Operand, usize),
        end: usize,
        negated: bool,
        op: impl FnOnce(Operand) -> Op,
    ) -> Parsed<()> {
        let (operand, start) = *tested;
        self.emit(op(operand), start)?;
        self.compare_done(negated, start, end)
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
                    self.builder.land(jump);
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
            What::Value(operand) if operand.is_named() || matches!(operand, Operand::Truth(_)) => {
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
        Ok(self.builder.finish())
    }
}
