//! A column of csv and json, and its values.

use std::borrow::Cow;

use crate::model::{Report, Row};

/// A column of csv and json.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name of the column: the csv header and the json key.
    pub id: &'static str,
    /// The unit of the values; empty for values without a unit.
    pub unit: &'static str,
    /// The meaning of the values, and when they are absent.
    pub doc: &'static str,
    value: for<'a> fn(&Context<'a>) -> Value<'a>,
}

/// One value, not yet formatted.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value: null in json, empty in csv.
    Absent,
    /// Text.
    Text(Cow<'a, str>),
    /// A count.
    Unsigned(u64),
    /// Seconds, exact to the microsecond.
    Seconds(f64),
}

/// The inputs from which values are computed.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) host: &'a str,
    pub(super) report: &'a Report,
    pub(super) row: &'a Row,
}

impl Column {
    pub(super) const fn new(
        id: &'static str,
        unit: &'static str,
        doc: &'static str,
        value: for<'a> fn(&Context<'a>) -> Value<'a>,
    ) -> Self {
        Self {
            id,
            unit,
            doc,
            value,
        }
    }

    pub(super) fn value<'a>(&self, context: &Context<'a>) -> Value<'a> {
        (self.value)(context)
    }
}
