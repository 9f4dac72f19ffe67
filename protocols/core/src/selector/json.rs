//! JSON('$.path'): finds one value in a payload by a single forward scan.
//!
//! No tree is built and nothing is allocated; what is not wanted is skipped, checked only for its structure, and what
//! lies behind the value is never looked at. A payload that is no JSON up to there gives an unknown value.

use super::value::{Value, number};

/// Most objects and arrays inside each other; a deeper payload gives an unknown value.
pub(super) const MAX_DEPTH: usize = 128;

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(Box<str>),
    /// From 0.
    Item(u32),
}

/// A compiled path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path(Box<[Step]>);

/// What is wrong with a path, and at which character from 1.
pub(super) type PathFault = (&'static str, usize);

impl Path {
    pub(super) fn new(text: &str) -> Result<Self, PathFault> {
        let fault = |what, rest: &str| {
            let read = text.len() - rest.len();
            (what, text.get(..read).unwrap_or_default().chars().count() + 1)
        };
        let mut rest = text.strip_prefix('$').ok_or(("no '$'", 1))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let before = rest;
            if steps.len() == MAX_DEPTH {
                return Err(fault("more than 128 steps", before));
            }
            if let Some(name) = rest.strip_prefix('.') {
                let len = name.find(['.', '[']).unwrap_or(name.len());
                let (name, behind) = name.split_at_checked(len).unwrap_or_default();
                match name {
                    "" => return Err(fault("no name behind the '.'", before)),
                    "*" => return Err(fault("a wildcard, which is not supported,", before)),
                    _ => steps.push(Step::Key(name.into())),
                }
                rest = behind;
            } else if let Some(inside) = rest.strip_prefix('[') {
                let (step, behind) = if inside.starts_with(['"', '\'']) {
                    quoted_key(inside).ok_or_else(|| fault("a key whose quote is never closed", before))?
                } else {
                    let len = inside.find(|char: char| !char.is_ascii_digit()).unwrap_or(inside.len());
                    let (digits, behind) = inside.split_at_checked(len).unwrap_or_default();
                    let item =
                        digits.parse().map_err(|_| fault("neither a key in quotes nor an index", before))?;
                    (Step::Item(item), behind)
                };
                steps.push(step);
                rest = behind.strip_prefix(']').ok_or_else(|| fault("no ']'", behind))?;
            } else {
                return Err(fault("neither '.' nor '['", before));
            }
        }
        Ok(Self(steps.into()))
    }

    /// The value, or [`Value::Null`] where the path leads to none; each byte that is looked at is taken off `steps`.
    /// With none left the value is not to be believed.
    pub(super) fn find<'a>(&self, payload: &'a [u8], steps: &mut usize) -> Value<'a> {
        let reach = payload.get(..*steps).unwrap_or(payload);
        let mut scan = Scan { rest: reach };
        let value = self.scan(&mut scan).unwrap_or(Value::Unknown);
        // A scan that fails may have read on from there to the end, unless it did not even begin.
        let may_begin = |byte: &u8| b"{[\"-0123456789 \t\n\r".contains(byte);
        let read = match value {
            Value::Unknown if reach.first().is_some_and(may_begin) => reach.len(),
            _ => reach.len().saturating_sub(scan.rest.len()),
        };
        *steps = steps.saturating_sub(read);
        value
    }

    fn scan<'a>(&self, scan: &mut Scan<'a>) -> Option<Value<'a>> {
        for (depth, step) in self.0.iter().enumerate() {
            scan.space();
            let found = match (step, scan.rest.first()?) {
                (Step::Key(key), b'{') => scan.enter_member(key, depth)?,
                (Step::Item(item), b'[') => scan.enter_item(*item, depth)?,
                // Another type has no such member; it must still be a value.
                (_, b'{' | b'[') => false,
                _ => scan.scalar().map(|_| false)?,
            };
            if !found {
                return Some(Value::Null);
            }
        }
        scan.space();
        match scan.rest.first()? {
            b'{' | b'[' => Some(Value::Opaque),
            _ => scan.scalar(),
        }
    }
}

/// A key with its quotes, in which a backslash takes the next character as it is; and what lies behind it.
fn quoted_key(text: &str) -> Option<(Step, &str)> {
    let mut chars = text.chars();
    let quote = chars.next()?;
    let mut key = String::new();
    loop {
        match chars.next()? {
            '\\' => key.push(chars.next()?),
            char if char == quote => return Some((Step::Key(key.into()), chars.as_str())),
            char => key.push(char),
        }
    }
}

/// What remains to be read. Every method gives `None` where the payload turns out to be no JSON.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        (*byte == wanted).then_some(())
    }

    /// The byte after any white space.
    fn next(&mut self) -> Option<u8> {
        self.space();
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    /// From a `{` to the value of `key`, the first of that name; false if there is none.
    fn enter_member(&mut self, key: &str, depth: usize) -> Option<bool> {
        self.take(b'{')?;
        self.space();
        if self.rest.first() == Some(&b'}') {
            return Some(false);
        }
        loop {
            self.space();
            let (name, escaped) = self.string()?;
            if self.next()? != b':' {
                return None;
            }
            if if escaped { unescaped_is(name, key) } else { name == key.as_bytes() } {
                return Some(true);
            }
            self.skip(depth + 1)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(false),
                _ => return None,
            }
        }
    }

    /// From a `[` to the item with that index; false if there are fewer.
    fn enter_item(&mut self, item: u32, depth: usize) -> Option<bool> {
        self.take(b'[')?;
        self.space();
        if self.rest.first() == Some(&b']') {
            return Some(false);
        }
        for _ in 0..item {
            self.skip(depth + 1)?;
            match self.next()? {
                b',' => {}
                b']' => return Some(false),
                _ => return None,
            }
        }
        Some(true)
    }

    /// Over one value of any kind, `outside` objects and arrays deep. What is open is remembered in one bit each, which
    /// is why the depth has a bound.
    fn skip(&mut self, outside: usize) -> Option<()> {
        let mut open: u128 = 0;
        let mut depth = outside;
        loop {
            self.space();
            let begun = match self.rest.first()? {
                byte @ (b'{' | b'[') => {
                    let object = *byte == b'{';
                    if depth == MAX_DEPTH {
                        return None;
                    }
                    depth += 1;
                    open = open << 1 | u128::from(object);
                    self.take(*byte)?;
                    self.space();
                    let empty = self.rest.first()? == if object { &b'}' } else { &b']' };
                    if !empty && object {
                        self.member_name()?;
                    }
                    !empty
                }
                _ => {
                    self.scalar_end()?;
                    false
                }
            };
            if begun {
                continue;
            }
            loop {
                if depth == outside {
                    return Some(());
                }
                match (self.next()?, open & 1 == 1) {
                    (b'}', true) | (b']', false) => {
                        open >>= 1;
                        depth -= 1;
                    }
                    (b',', true) => {
                        self.member_name()?;
                        break;
                    }
                    (b',', false) => break,
                    _ => return None,
                }
            }
        }
    }

    fn member_name(&mut self) -> Option<()> {
        self.space();
        self.string()?;
        (self.next()? == b':').then_some(())
    }

    /// What stands between two quotes, and whether there are escapes in it.
    fn string(&mut self) -> Option<(&'a [u8], bool)> {
        self.take(b'"')?;
        let all = self.rest;
        let mut escaped = false;
        loop {
            let len = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            let (byte, rest) = self.rest.get(len..)?.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some((all.get(..all.len() - rest.len() - 1)?, escaped)),
                b'\\' => {
                    escaped = true;
                    self.rest = rest.get(1..)?;
                }
                // A control character must be escaped (RFC 8259, section 7).
                _ => return None,
            }
        }
    }

    /// Over a string, a number, `true`, `false` or `null`; gives what was skipped.
    fn scalar_end(&mut self) -> Option<&'a [u8]> {
        let all = self.rest;
        if self.rest.first() == Some(&b'"') {
            self.string()?;
            return Some(all);
        }
        let len =
            all.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
        let (token, rest) = all.split_at_checked(len.unwrap_or(all.len()))?;
        self.rest = rest;
        (matches!(token, b"true" | b"false" | b"null") || is_number(token)).then_some(token)
    }

    fn scalar(&mut self) -> Option<Value<'a>> {
        if self.rest.first() == Some(&b'"') {
            let (raw, escaped) = self.string()?;
            let raw = str::from_utf8(raw).ok()?;
            if !escaped {
                return Some(Value::Json(raw));
            }
            return Unescape { rest: raw.chars() }.all(|char| char.is_some()).then_some(Value::Escaped(raw));
        }
        match self.scalar_end()? {
            b"true" => Some(Value::Truth(true)),
            b"false" => Some(Value::Truth(false)),
            b"null" => Some(Value::Null),
            token => number(str::from_utf8(token).ok()?),
        }
    }
}

/// RFC 8259, section 6.
fn is_number(token: &[u8]) -> bool {
    fn digits(text: &[u8]) -> (usize, &[u8]) {
        let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (len, text.get(len..).unwrap_or_default())
    }
    let unsigned = token.strip_prefix(b"-").unwrap_or(token);
    let (whole, mut rest) = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.first() == Some(&b'0')) {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let (len, behind) = digits(fraction);
        if len == 0 {
            return false;
        }
        rest = behind;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', unsigned @ ..] => unsigned,
            _ => exponent,
        };
        let (len, behind) = digits(exponent);
        return len > 0 && behind.is_empty();
    }
    rest.is_empty()
}

/// The characters that an escaped string stands for; `None` for an escape that stands for none.
struct Unescape<'a> {
    rest: std::str::Chars<'a>,
}

impl Unescape<'_> {
    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | self.rest.next()?.to_digit(16)?))
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.rest.next()? {
            char @ ('"' | '\\' | '/') => char,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => match self.unit()? {
                high @ 0xD800..0xDC00 => {
                    let pair = self.rest.next()? == '\\' && self.rest.next()? == 'u';
                    let low = self.unit().filter(|low| pair && (0xDC00..0xE000).contains(low))?;
                    char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))?
                }
                unit => char::from_u32(unit)?,
            },
            _ => return None,
        })
    }
}

impl Iterator for Unescape<'_> {
    type Item = Option<char>;

    fn next(&mut self) -> Option<Option<char>> {
        match self.rest.next()? {
            '\\' => Some(self.escape()),
            char => Some(Some(char)),
        }
    }
}

/// The text that an escaped string stands for.
pub(super) fn unescape(raw: &str) -> Option<String> {
    Unescape { rest: raw.chars() }.collect()
}

fn unescaped_is(raw: &[u8], text: &str) -> bool {
    str::from_utf8(raw).is_ok_and(|raw| Unescape { rest: raw.chars() }.eq(text.chars().map(Some)))
}

#[cfg(test)]
mod tests;
