//! Enums whose variants have names, and values that files and flags hold as text.

/// Defines an enum whose variants have one name each, used in the canonical text, in flags and in
/// JSON alike. strum could derive the names; the refusal that lists them, and serde, would still be
/// written for each enum.
macro_rules! named {
    (
        $(#[$doc:meta])* $name:ident, $what:literal {
            $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// The names of all variants, for help and errors.
            pub const NAMES: &[&str] = &[$($text),+];

            /// The name of this variant.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::base::error::Error;
            fn from_str(s: &str) -> $crate::base::error::Result<Self> {
                match s {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::base::error::Error::invalid(format!(
                        "unknown {} {s:?}, expected one of {}", $what, Self::NAMES.join(", ")))),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S>(&self, s: S) -> std::result::Result<S::Ok, S::Error>
            where
                S: serde::Serializer,
            {
                $crate::base::named::as_text::serialize(self, s)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D>(d: D) -> std::result::Result<Self, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                $crate::base::named::as_text::deserialize(d)
            }
        }
    };
}
pub(crate) use named;

/// For `#[serde(with = "as_text")]`: a value as the text that it displays and parses.
pub mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes the text that a value displays.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    /// Parses a value from its text.
    ///
    /// # Errors
    /// Those of the deserializer, and those of parsing the text.
    pub fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// For `#[serde(with = "as_optional_text")]`: [`as_text`] of a value that may be missing.
pub mod as_optional_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    /// Writes the text that a value displays, or nothing.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(s)
    }

    /// Parses a value from its text, if there is one.
    ///
    /// # Errors
    /// Those of the deserializer, and those of parsing the text.
    pub fn deserialize<'de, T, D>(d: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(d)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}
