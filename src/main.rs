//! The noctule binary.

fn main() {}
