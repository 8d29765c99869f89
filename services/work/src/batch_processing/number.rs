//! Whole numbers of 128 bits in JSON: written as strings of decimal digits, since many readers of JSON numbers round above 2^53;
//! read from both, so that activities in other languages may return plain numbers.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A whole number from 0 to 2^128 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub u128);

impl Number {
    /// The sum, if it fits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl de::Visitor<'_> for Reader {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0 to 2^128 - 1, or its decimal digits in a string")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(number.into()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number, E> {
        u128::try_from(number)
            .map(Number)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<Number, E> {
        let wrong = || E::invalid_value(de::Unexpected::Str(digits), &self);
        // `parse` would take a plus sign.
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            digits.parse().map(Number).map_err(|_| wrong())
        } else {
            Err(wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_are_read() {
        for (text, number) in [
            ("7", 7),
            ("\"7\"", 7),
            ("18446744073709551615", u128::from(u64::MAX)),
            ("\"340282366920938463463374607431768211455\"", u128::MAX),
        ] {
            assert_eq!(serde_json::from_str::<Number>(text).unwrap(), Number(number), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "-1",
            "1.5",
            "1e40",
            "\"\"",
            "\"+1\"",
            "\"-1\"",
            "\"1.0\"",
            "\" 1\"",
            "\"340282366920938463463374607431768211456\"",
            "null",
            "[1]",
        ] {
            assert!(serde_json::from_str::<Number>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(number: u128) {
            let text = serde_json::to_string(&Number(number)).unwrap();
            prop_assert!(text.starts_with('"'));
            prop_assert_eq!(serde_json::from_str::<Number>(&text).unwrap(), Number(number));
        }
    }
}
