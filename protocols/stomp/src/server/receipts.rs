//! The receipts that a client waits for: our numbers, and the texts that it knows them by.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use noctule_core::consumer::Receipt;
use noctule_core::refusal::{Kind, Refusal};

/// Receipts in the order of their frames, which is the order in which they leave.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    waiting: VecDeque<(NonZeroU32, Box<str>)>,
    last: u32,
    bytes: usize,
}

impl Receipts {
    /// What a receipt costs besides its text, bytes.
    const OVERHEAD: usize = size_of::<(NonZeroU32, Box<str>)>() + 16;

    /// Whether none is waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A number for the receipt of that text.
    pub(super) fn ask(&mut self, text: &str, limit_bytes: usize) -> Result<Receipt, Refusal> {
        let bytes = self.bytes + text.len() + Self::OVERHEAD;
        if bytes > limit_bytes {
            let waiting = self.waiting.len();
            return Err(Refusal::new(
                Kind::QuotaExceeded,
                format!(
                    "{waiting} receipts are waited for, and with this one they take more than the {limit_bytes} \
                     bytes of max_receipt_bytes; ask for fewer, or wait for some"
                ),
            ));
        }
        self.bytes = bytes;
        // Twice the same number would take four thousand million frames between a question and its answer.
        self.last = self.last.wrapping_add(1).max(1);
        let number = NonZeroU32::new(self.last).unwrap_or(NonZeroU32::MIN);
        self.waiting.push_back((number, text.into()));
        Ok(Receipt(number))
    }

    /// The text of a receipt, which is not waited for any more. Those before it, which leave first, are found no longer.
    pub(super) fn take(&mut self, receipt: Receipt) -> Option<Box<str>> {
        while let Some((number, text)) = self.waiting.pop_front() {
            self.bytes = self.bytes.saturating_sub(text.len() + Self::OVERHEAD);
            if number == receipt.0 {
                if self.waiting.is_empty() && self.waiting.capacity() > 16 {
                    self.waiting = VecDeque::new();
                }
                return Some(text);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_back_with_its_text_and_gives_back_its_bytes() {
        let mut receipts = Receipts::default();
        let asked: Vec<_> = ["a", "bb", ""].map(|text| receipts.ask(text, 1000).unwrap()).into();
        for (receipt, text) in asked.into_iter().zip(["a", "bb", ""]) {
            assert!(!receipts.is_empty());
            assert_eq!(receipts.take(receipt).as_deref(), Some(text));
        }
        assert!(receipts.bytes == 0 && receipts.is_empty());
        assert_eq!(receipts.take(Receipt(NonZeroU32::MIN)), None);
    }

    #[test]
    fn as_many_as_the_limit_allows_and_not_one_more() {
        let mut receipts = Receipts::default();
        let limit = 2 * (Receipts::OVERHEAD + 1);
        let first = receipts.ask("a", limit).unwrap();
        receipts.ask("b", limit).unwrap();
        assert_eq!(receipts.ask("c", limit).unwrap_err().kind, Kind::QuotaExceeded);
        receipts.take(first).unwrap();
        receipts.ask("c", limit).unwrap();
    }

    #[test]
    fn the_count_goes_on_after_its_end() {
        let mut receipts = Receipts { last: u32::MAX, ..Receipts::default() };
        assert_eq!(receipts.ask("a", 1000).unwrap(), Receipt(NonZeroU32::MIN));
    }
}
