//! The operators that wait for their right side while a selector is parsed, and how strongly they bind.

use super::value::{Cmp, Sum};

/// What waits for its right side, from weak to strong as section 3.8.1.1 ranks them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operator {
    Open,
    /// With the place of the jump that skips the right side.
    Or(u16),
    And(u16),
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

pub(super) const OPEN: u8 = 0;
pub(super) const OR: u8 = 1;
pub(super) const AND: u8 = 2;
pub(super) const NOT: u8 = 3;
pub(super) const COMPARISON: u8 = 4;
pub(super) const SUM: u8 = 5;
pub(super) const PRODUCT: u8 = 6;
pub(super) const SIGN: u8 = 7;

impl Operator {
    pub(super) fn rank(self) -> u8 {
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
