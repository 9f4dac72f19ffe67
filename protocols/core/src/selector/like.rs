//! LIKE: patterns compiled once, matched without backtracking further than the last `%`.

/// One element of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    /// `%`: any run of characters, the empty one too.
    Run,
    /// `_`: any one character.
    One,
    Exactly(char),
}

/// A compiled LIKE pattern.
#[derive(Debug)]
pub(super) struct Pattern(Box<[Element]>);

impl Pattern {
    /// `None` if the escape character stands before anything but `%`, `_` and itself.
    pub(super) fn new(text: &str, escape: Option<char>) -> Option<Self> {
        let mut elements = Vec::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            elements.push(match char {
                char if Some(char) == escape => match chars.next() {
                    Some(escaped @ ('%' | '_')) => Element::Exactly(escaped),
                    Some(escaped) if escaped == char => Element::Exactly(escaped),
                    _ => return None,
                },
                '%' if elements.last() == Some(&Element::Run) => continue,
                '%' => Element::Run,
                '_' => Element::One,
                char => Element::Exactly(char),
            });
        }
        Some(Self(elements.into()))
    }

    /// At most as many steps as the text has characters times the pattern has: on a mismatch only the last `%` takes
    /// one character more, since an earlier one could win nothing by it. Each is taken off `steps`; `None` if there are
    /// too few of them.
    pub(super) fn matches(&self, text: &str, steps: &mut usize) -> Option<bool> {
        let mut elements = self.0.iter();
        let mut chars = text.chars();
        let mut retry = None;
        loop {
            *steps = steps.checked_sub(1)?;
            let here = chars.clone();
            match elements.next() {
                Some(Element::Run) => {
                    if elements.len() == 0 {
                        return Some(true);
                    }
                    retry = Some((elements.clone(), here));
                    continue;
                }
                Some(element) => match (chars.next(), element) {
                    (None, _) => return Some(false),
                    (Some(_), Element::One) => continue,
                    (Some(char), Element::Exactly(wanted)) if char == *wanted => continue,
                    _ => {}
                },
                None if chars.as_str().is_empty() => return Some(true),
                None => {}
            }
            let Some((behind, from)) = &mut retry else { return Some(false) };
            if from.next().is_none() {
                return Some(false);
            }
            elements = behind.clone();
            chars = from.clone();
        }
    }
}

#[cfg(test)]
mod tests;
