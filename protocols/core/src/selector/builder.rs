//! Collects a program operation by operation: counts how high its stacks get, and gives names, texts and paths their
//! places. In which order operations come is the parser's.

use super::json::Path;
use super::like::Pattern;
use super::program::{MAX_STACK, Op, Operand, Program, name_order};

#[derive(Default)]
pub(super) struct Builder {
    program: Program,
    /// How high the two stacks are after the last operation.
    values: usize,
    truths: usize,
}

// A program refers to a thing by its place, which fits 16 bits: a text of 4,096 bytes holds no more things, and no
// more operations, than it has bytes.
impl Builder {
    /// Appends an operation; false if the stacks would get too high.
    #[must_use]
    pub(super) fn emit(&mut self, op: Op) -> bool {
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
        self.program.height = self.program.height.max(height);
        self.program.ops.push(op);
        height <= MAX_STACK
    }

    /// Where the next operation will be.
    pub(super) fn here(&self) -> u16 {
        self.program.ops.len() as u16
    }

    /// Sends a jump that was emitted at `jump` to the next operation.
    pub(super) fn land(&mut self, jump: u16) {
        let here = self.here();
        if let Some(Op::UnlessFalse(target) | Op::UnlessTrue(target)) =
            self.program.ops.get_mut(usize::from(jump))
        {
            *target = here;
        }
    }

    pub(super) fn text(&mut self, text: &str) -> Operand {
        self.program.texts.push(text.into());
        Operand::Text((self.program.texts.len() - 1) as u16)
    }

    pub(super) fn path(&mut self, path: Path) -> Operand {
        self.program.paths.push(path);
        Operand::Json((self.program.paths.len() - 1) as u16)
    }

    pub(super) fn pattern(&mut self, pattern: Pattern) -> u16 {
        self.program.patterns.push(pattern);
        (self.program.patterns.len() - 1) as u16
    }

    /// Adds the members of an IN list and gives the first one's place and their count.
    pub(super) fn items(&mut self, items: &[Operand]) -> (u16, u16) {
        let from = self.program.items.len();
        self.program.items.extend_from_slice(items);
        (from as u16, items.len() as u16)
    }

    /// What a name means.
    pub(super) fn name(&mut self, name: &str) -> Operand {
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

    /// The program with its names in the order in which they are searched.
    pub(super) fn finish(self) -> Program {
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
