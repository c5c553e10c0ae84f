//! Formats numbers with units for people, in at most five digits.

/// Decimal prefixes, up to the rate of the largest count within a nanosecond.
const PREFIXES: [&str; 9] = ["K", "M", "G", "T", "P", "E", "Z", "Y", "R"];

/// Formats a count: exact up to 99,999, then with a decimal prefix (K is 1,000).
#[must_use]
pub fn count(value: u64) -> String {
    if value < 100_000 {
        return value.to_string();
    }
    scaled(value as f64, "", "")
}

/// Formats a count with its noun: `1 message`, `2 messages`. `plural` is for all counts except 1.
#[must_use]
pub fn counted(value: u64, one: &str, plural: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { plural })
}

/// Formats bytes with a decimal prefix.
#[must_use]
pub fn bytes(value: u64) -> String {
    scaled(value as f64, " ", "B")
}

/// Formats bandwidth in bits per second; `-` if no time has passed.
#[must_use]
pub fn bits_per_second(bytes: u64, seconds: f64) -> String {
    if seconds > 0.0 {
        scaled(bytes as f64 * 8.0 / seconds, " ", "bps")
    } else {
        "-".to_owned()
    }
}

/// Formats a time that is given in microseconds.
#[must_use]
pub fn microseconds(value: u64) -> String {
    let mut value = value as f64;
    for unit in ["us", "ms"] {
        // A value that rounds to 1000 gets the next unit.
        if value < 999.5 {
            let digits = usize::from(unit != "us" && value < 99.95);
            return format!("{value:.digits$}{unit}");
        }
        value /= 1000.0;
    }
    scaled(value, "", "s")
}

/// Formats `value` with the prefix that leaves one to three digits before the decimal point.
fn scaled(value: f64, space: &str, unit: &str) -> String {
    let mut value = value;
    let mut prefix = "";
    for next in PREFIXES {
        // A value that rounds to 1000 gets the next prefix.
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    let digits = usize::from(!prefix.is_empty() && value < 99.95);
    format!("{value:.digits$}{space}{prefix}{unit}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_exact_up_to_five_digits() {
        assert_eq!(count(0), "0");
        assert_eq!(count(99_999), "99999");
        assert_eq!(count(100_000), "100K");
        assert_eq!(count(999_950), "1.0M");
        assert_eq!(count(123_456_789_012_345), "123T");
        assert_eq!(count(u64::MAX), "18.4E");
        assert_eq!(counted(1, "message", "messages"), "1 message");
        assert_eq!(counted(0, "message", "messages"), "0 messages");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500), "1.5 KB");
        assert_eq!(microseconds(999), "999us");
        assert_eq!(microseconds(1_000), "1.0ms");
        assert_eq!(microseconds(999_499), "999ms");
        assert_eq!(microseconds(1_500_000), "2s");
        assert_eq!(bits_per_second(125_000, 1.0), "1.0 Mbps");
        assert_eq!(bits_per_second(1, 0.0), "-");
        assert_eq!(bits_per_second(u64::MAX, 1e-9), "148 Rbps");
    }

    proptest! {
        #[test]
        fn no_count_is_wider_than_its_column(value in any::<u64>(), nanos in any::<u64>()) {
            let seconds = Duration::from_nanos(nanos).as_secs_f64();
            prop_assert!(count(value).len() <= 5);
            prop_assert!(bytes(value).len() <= 8);
            prop_assert!(microseconds(value).len() <= 6);
            prop_assert!(bits_per_second(value, seconds).len() <= 9);
        }
    }
}
