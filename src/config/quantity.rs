//! Durations and sizes the way people write them: `"10s"`, `"7d"`, `"64KiB"`.
//!
//! What a given key accepts (its range) is not known here; see [`section`](super::section).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// Why a text is not a [`Period`] or a [`Size`]; says what would be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantityError {
    text: String,
    forms: &'static str,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}", self.text, self.forms)
    }
}

impl std::error::Error for QuantityError {}

/// A length of time, whole milliseconds.
///
/// Written as a whole number and one of `ms`, `s`, `m`, `h`, `d`. A bare number is refused: nobody remembers whether
/// it means seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u64);

/// A number of bytes.
///
/// Written as a plain number, or as a whole number and one of `B`, `KiB`, `MiB`, `GiB`. `KB` and `MB` are refused:
/// they mean 1000 to some and 1024 to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

const PERIOD_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const PERIOD_FORMS: &str = "a duration such as \"5ms\", \"10s\", \"2m\", \"1h\" or \"7d\"";
const SIZE_FORMS: &str = "a size such as 65536, \"64KiB\", \"1MiB\" or \"2GiB\"";

impl Period {
    /// That many milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// That many seconds; saturates.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// The same as the standard library's type.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl Size {
    /// That many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// That many KiB (1024 bytes); saturates.
    #[must_use]
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1 << 10))
    }

    /// That many MiB (1024 KiB); saturates.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// Bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// Bytes as a length in memory; on a 32-bit board a larger size saturates.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Reads a whole number followed by one of `units`; `None` if it is anything else or does not fit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start_matches(' ');
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes `amount` in the largest unit that divides it.
fn show(amount: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let zero_unit = if units.len() == PERIOD_UNITS.len() { "s" } else { "B" };
    if amount == 0 {
        return write!(f, "0{zero_unit}");
    }
    match units.iter().find(|(_, factor)| amount.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", amount / factor),
        None => write!(f, "{amount}"),
    }
}

impl FromStr for Period {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError { text: text.to_owned(), forms: PERIOD_FORMS };
        scaled(text, &PERIOD_UNITS).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = || QuantityError { text: text.to_owned(), forms: SIZE_FORMS };
        text.parse().ok().or_else(|| scaled(text, &SIZE_UNITS)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, &PERIOD_UNITS, f)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self.0, &SIZE_UNITS, f)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PERIOD_FORMS)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;
        impl Visitor<'_> for NumberOrText {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE_FORMS)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                u64::try_from(number).map(Size).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(NumberOrText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, ms) in
            [("5ms", 5), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(text.parse::<Period>().unwrap().as_millis(), ms, "{text}");
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(text.parse::<Size>().unwrap().as_bytes(), bytes, "{text}");
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("65536".parse::<Size>().unwrap(), Size::from_kib(64));
        assert_eq!("64 KiB".parse::<Size>().unwrap(), Size::from_kib(64));
    }

    #[test]
    fn largest_dividing_unit_is_shown() {
        assert_eq!(Period::from_millis(1_500).to_string(), "1500ms");
        assert_eq!(Period::from_secs(90).to_string(), "90s");
        assert_eq!(Size::from_bytes(1_025).to_string(), "1025B");
        assert_eq!(Size::from_bytes(0).to_string(), "0B");
    }

    #[test]
    fn what_is_ambiguous_or_does_not_fit_is_refused() {
        for text in
            ["", "10", "s", "-1s", "1.5s", "10sec", "1h30m", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        for text in
            ["", "64KB", "1M", "KiB", "-1", "1.5MiB", "18446744073709551616", "18446744073709551615KiB"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_error_shows_the_accepted_forms() {
        assert_eq!(
            "64KB".parse::<Size>().unwrap_err().to_string(),
            r#""64KB" is not a size such as 65536, "64KiB", "1MiB" or "2GiB""#
        );
        assert_eq!(
            "10".parse::<Period>().unwrap_err().to_string(),
            r#""10" is not a duration such as "5ms", "10s", "2m", "1h" or "7d""#
        );
    }
}
