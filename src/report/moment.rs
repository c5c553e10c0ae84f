//! Moments of a recording, as `--from` and `--to` name them.

use chrono::{DateTime, Days, Local, NaiveDateTime, NaiveTime, TimeZone};

use crate::text::shown;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds since 1970 in UTC.
    At(i64),
    /// A time of the day, in the time zone of this host.
    Daily(NaiveTime),
    /// Milliseconds before the end of the recording.
    BeforeEnd(i64),
}

/// The formats of dates without a time zone, and of times of the day.
const DATES: [&str; 4] = [
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
];
const TIMES: [&str; 2] = ["%H:%M:%S%.f", "%H:%M"];

impl Moment {
    /// Parses RFC 3339, a date and time or a time of the day of this host, or a length of time
    /// before the end: `-1h`.
    ///
    /// # Errors
    ///
    /// A text that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(length) = text.strip_prefix('-') {
            let length = humantime::parse_duration(length)
                .map_err(|error| format!("{}; an example: -1h", shown(&error.to_string())))?;
            let length = i64::try_from(length.as_millis()).ok();
            return length
                .filter(|length| *length < i64::MAX / 4)
                .map(Self::BeforeEnd)
                .ok_or_else(|| "too long".to_owned());
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(time.timestamp_millis()));
        }
        let parse_date = |format| NaiveDateTime::parse_from_str(text, format).ok();
        if let Some(date) = DATES.into_iter().find_map(parse_date) {
            return local(date)
                .map(Self::At)
                .ok_or_else(|| "there is no such time in this time zone".to_owned());
        }
        let parse_time = |format| NaiveTime::parse_from_str(text, format).ok();
        TIMES
            .into_iter()
            .find_map(parse_time)
            .map(Self::Daily)
            .ok_or_else(|| {
                "not a time; examples: 2026-03-01T14:05:00Z, 2026-03-01 14:05, 14:05, -1h"
                    .to_owned()
            })
    }

    /// Whether the moment is known without the recording.
    #[must_use]
    pub fn is_absolute(self) -> bool {
        matches!(self, Self::At(_))
    }

    /// The moment in milliseconds since 1970, for a recording from `begin` to `end`. A time of the
    /// day is the first one at or after `after`.
    pub(super) fn resolve(self, after: i64, end: i64) -> i64 {
        match self {
            Self::At(time) => time,
            Self::BeforeEnd(length) => end.saturating_sub(length),
            Self::Daily(time) => {
                let day = DateTime::from_timestamp_millis(after)
                    .map(|after| after.with_timezone(&Local).date_naive());
                // A time may not exist on a day, when clocks are set forward.
                let days = (0..3).filter_map(|days| day?.checked_add_days(Days::new(days)));
                let mut times = days.filter_map(|day| local(day.and_time(time)));
                times.find(|time| *time >= after).unwrap_or(after)
            }
        }
    }
}

fn local(date: NaiveDateTime) -> Option<i64> {
    let date = Local.from_local_datetime(&date).earliest()?;
    Some(date.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_absolute_daily_or_before_the_end() {
        let noon = 1_772_366_400_000;
        assert_eq!(Moment::parse("2026-03-01T12:00:00Z"), Ok(Moment::At(noon)));
        assert_eq!(
            Moment::parse("2026-03-01T13:00:00+01:00"),
            Ok(Moment::At(noon))
        );
        assert_eq!(Moment::parse("-1h30m"), Ok(Moment::BeforeEnd(5_400_000)));
        let daily = Moment::parse("14:05").expect("a time");
        assert!(matches!(daily, Moment::Daily(_)));
        for after in [noon, noon + 5_000_000] {
            let found = daily.resolve(after, noon);
            assert!(found >= after && found - after <= 25 * 3_600_000);
        }
        assert_eq!(Moment::BeforeEnd(1).resolve(0, noon), noon - 1);
        for bad in ["", "-", "-x", "25:00", "14", "noon", "2026-03-01", "--1h"] {
            assert!(Moment::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_refused_without_panic(text in ".*", after in 0..i64::MAX / 2, end in 0..i64::MAX / 2) {
            if let Ok(moment) = Moment::parse(&text) {
                let _ = moment.resolve(after, end);
            }
        }
    }
}
