//! Message selectors.

/// A compiled selector.
#[derive(Debug)]
pub struct Selector {}
