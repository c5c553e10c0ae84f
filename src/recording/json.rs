//! Turns a line of JSON into the fields of a record.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};

use super::fields::SEPARATOR;
use super::schema::MOST_COLUMNS;

/// The fields of an object, in the order of the text.
pub(super) struct Object<'a> {
    /// The keys that are expected, in this order.
    pub(super) names: &'a [String],
    /// Gets the values, with separators in between.
    pub(super) text: &'a mut Vec<u8>,
    /// Gets the end of each value.
    pub(super) ends: &'a mut Vec<u32>,
    /// Gets all keys, if they are not those that are expected.
    pub(super) other: &'a mut Option<Vec<String>>,
}

/// Parses one line. `object.other` says whether the keys are others than expected; the fields are
/// then those of the new keys.
pub(super) fn parse(line: &[u8], object: Object<'_>) -> Result<(), String> {
    // Values of strings are then UTF-8 too, which the separator relies on.
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
    let mut json = serde_json::Deserializer::from_str(line);
    json.deserialize_map(object)
        .and_then(|()| json.end())
        .map_err(|error| {
            // Lines are read one at a time, so the line of the message is always 1.
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or_default();
            format!(
                "not a JSON object of a recording: {}",
                crate::text::shown(what)
            )
        })
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.text.clear();
        self.ends.clear();
        *self.other = None;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let index = self.ends.len();
            if index >= MOST_COLUMNS {
                return Err(A::Error::custom(format!(
                    "more than {MOST_COLUMNS} columns"
                )));
            }
            if let Some(names) = self.other {
                names.push(key.0.into_owned());
            } else if self.names.get(index).is_none_or(|name| *name != key.0) {
                let before = self.names.iter().take(index).cloned();
                *self.other = Some(before.chain([key.0.into_owned()]).collect());
            }
            if index > 0 {
                self.text.push(SEPARATOR);
            }
            map.next_value_seed(Value(self.text))?;
            self.ends.push(self.text.len() as u32);
        }
        if self.other.is_none() && self.ends.len() < self.names.len() {
            let there = self.names.iter().take(self.ends.len());
            *self.other = Some(there.cloned().collect());
        }
        Ok(())
    }
}

/// A key, without a copy where the text has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A value, which is added to a text.
struct Value<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("text, a number or null")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        let mut number = itoa::Buffer::new();
        self.0.extend_from_slice(number.format(value).as_bytes());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.extend_from_slice(value.to_string().as_bytes());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
