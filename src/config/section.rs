//! How one section of the file is declared: every key once, with its type, default, range and when a change takes effect.
//!
//! `section!` turns that into the struct, its defaults, the range check and the table that words the errors.
//! Reading the file is in [`load`](super::load).

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::quantity::{Period, Size};

/// When a changed value takes effect, once the file is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// At once, for everybody.
    Now,
    /// For clients that connect from then on; the others keep what they were granted.
    Connections,
    /// Only after a restart, whatever is read.
    Restart,
}

/// What is known about one key of the file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// What it is for, as the code says it: for the reference in docs/.
    #[cfg(test)]
    pub(super) about: &'static str,
    /// When a changed value could take effect.
    pub reload: Reload,
    /// What a right value looks like, for error messages: "a whole number from 1 to 65535".
    pub(super) expected: fn() -> String,
    /// The default as it would be written in the file.
    pub(super) default: fn() -> String,
}

/// A type that a key may have: how its range is measured and how it is described.
pub(super) trait Setting {
    /// The value on the scale of its range, if it has one: a count, bytes, milliseconds.
    fn amount(&self) -> Option<u64> {
        None
    }

    /// What a right value looks like.
    fn expected(range: Option<RangeInclusive<u64>>) -> String;

    /// The value as it would be written in the file.
    fn written(&self) -> String;
}

macro_rules! count {
    ($($Type:ty),+) => {$(
        impl Setting for $Type {
            fn amount(&self) -> Option<u64> {
                Some(u64::from(*self))
            }

            fn expected(range: Option<RangeInclusive<u64>>) -> String {
                let (low, high) = range.unwrap_or(0..=u64::from(<$Type>::MAX)).into_inner();
                format!("a whole number from {low} to {high}")
            }

            fn written(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

count!(u16, u32);

impl Setting for Size {
    fn amount(&self) -> Option<u64> {
        Some(self.as_bytes())
    }

    fn expected(range: Option<RangeInclusive<u64>>) -> String {
        let (low, high) = range.unwrap_or(0..=u64::MAX).into_inner();
        let (low, high) = (Self::from_bytes(low), Self::from_bytes(high));
        format!("a size from {low} to {high} such as 65536, \"64KiB\" or \"1MiB\"")
    }

    fn written(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Setting for Period {
    fn amount(&self) -> Option<u64> {
        Some(self.as_millis())
    }

    fn expected(range: Option<RangeInclusive<u64>>) -> String {
        let (low, high) = range.unwrap_or(0..=u64::MAX).into_inner();
        let (low, high) = (Self::from_millis(low), Self::from_millis(high));
        format!("a duration from {low} to {high} such as \"5ms\", \"10s\", \"2m\", \"1h\" or \"7d\"")
    }

    fn written(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Setting for bool {
    fn expected(_: Option<RangeInclusive<u64>>) -> String {
        "true or false".to_owned()
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl Setting for PathBuf {
    fn expected(_: Option<RangeInclusive<u64>>) -> String {
        "a directory such as \"data\" or \"/var/lib/noctule\"".to_owned()
    }

    fn written(&self) -> String {
        format!("{:?}", self.display().to_string())
    }
}

impl<T: Setting> Setting for Option<T> {
    fn amount(&self) -> Option<u64> {
        self.as_ref().and_then(Setting::amount)
    }

    fn expected(range: Option<RangeInclusive<u64>>) -> String {
        T::expected(range)
    }

    fn written(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Setting::written)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn expected(range: Option<RangeInclusive<u64>>) -> String {
        format!("a list, in brackets, each {}", T::expected(range))
    }

    fn written(&self) -> String {
        let items: Vec<String> = self.iter().map(Setting::written).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Declares a section; each key reads `name: Type [range] = default, Reload;`. Where what an error shows as the default
/// depends on another key, `, written function` gives it.
macro_rules! section {
    (
        $(#[$about:meta])+
        pub struct $Name:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $Type:ty $([$range:expr])? = $default:expr, $reload:ident $(, written $shown:expr)?;
            )+
        }
    ) => {
        $(#[$about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $Name {
            $($(#[doc = $doc])+ pub $key: $Type,)+
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl $Name {
            /// Every key of the section, in the order of the documentation.
            pub const KEYS: &[$crate::config::Key] = &[$(
                $crate::config::Key {
                    name: stringify!($key),
                    #[cfg(test)]
                    about: concat!($($doc, "\n"),+),
                    reload: $crate::config::Reload::$reload,
                    expected: || <$Type as $crate::config::section::Setting>::expected(
                        $crate::config::section::section!(@range $($range)?)
                    ),
                    default: $crate::config::section::section!(@default $key $($shown)?),
                },
            )+];

            /// The names of the keys whose value is outside its range.
            pub(super) fn out_of_range(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(
                    let range: Option<std::ops::RangeInclusive<u64>> =
                        $crate::config::section::section!(@range $($range)?);
                    let amount = $crate::config::section::Setting::amount(&self.$key);
                    if let (Some(range), Some(amount)) = (range, amount)
                        && !range.contains(&amount)
                    {
                        names.push(stringify!($key));
                    }
                )+
                names
            }
        }
    };
    (@default $key:ident) => { || $crate::config::section::Setting::written(&Self::default().$key) };
    (@default $key:ident $shown:expr) => { $shown };
    (@range) => { None };
    (@range $range:expr) => { Some($range) };
}

/// Declares an enum whose values are words in the file.
macro_rules! words {
    (
        $(#[$about:meta])+
        pub enum $Name:ident { $( $(#[$doc:meta])+ $Variant:ident = $word:literal, )+ }
    ) => {
        $(#[$about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
        pub enum $Name {
            $( $(#[$doc])+ #[serde(rename = $word)] #[value(name = $word)] $Variant, )+
        }

        impl $Name {
            /// The word in the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$Variant => $word, )+ }
            }
        }

        impl $crate::config::section::Setting for $Name {
            fn expected(_: Option<std::ops::RangeInclusive<u64>>) -> String {
                $crate::config::section::one_of(&[$($word),+])
            }

            fn written(&self) -> String {
                format!("\"{}\"", self.as_str())
            }
        }
    };
}

/// Declares a text that means something; the words say what a right one looks like. Whether it is one `rules` says.
macro_rules! text {
    ($(#[$about:meta])+ pub struct $Name:ident = $expected:literal;) => {
        $(#[$about])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $Name(String);

        impl $Name {
            /// The text; empty if the file has none.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $Name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl $crate::config::section::Setting for $Name {
            fn expected(_: Option<std::ops::RangeInclusive<u64>>) -> String {
                $expected.to_owned()
            }

            fn written(&self) -> String {
                if self.0.is_empty() { "none".to_owned() } else { format!("{:?}", self.0) }
            }
        }
    };
}

/// `"a", "b" or "c"`.
pub(super) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("\"{only}\""),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("\"{word}\"")).collect();
            format!("{} or \"{last}\"", first.join(", "))
        }
    }
}

pub(super) use {section, text, words};
