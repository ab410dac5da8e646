//! Values of flags: numbers, sizes, times. Each reader fails with what is accepted.

use std::ops::RangeInclusive;

/// Reads `64K`, `2M`, `1G` or a number of bytes.
pub(super) fn size(text: &str, range: RangeInclusive<u64>) -> Result<usize, String> {
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)];
    let unit = units.into_iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)));
    let (digits, unit) = unit.unwrap_or((text, 1));
    let (first, last) = (shown_size(*range.start()), shown_size(*range.end()));
    scaled(digits, unit, &range)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("accepted is a size from {first} to {last}, in bytes or such as 64K, 2M"))
}

/// Reads `500ms`, `25s`, `10m` or `1h`, in milliseconds. A bare number has no unit, so it is refused.
pub(super) fn time(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    // The longer suffix first: `ms` ends with `s` too.
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let unit = units.into_iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)));
    let first = if *range.start() == 0 { "0s" } else { "1ms" };
    unit.and_then(|(digits, unit)| scaled(digits, unit, &range))
        .ok_or_else(|| format!("accepted is a time from {first} to 8760h, such as 500ms, 25s, 10m, 1h"))
}

/// Reads a number.
pub(super) fn number(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let (first, last) = (range.start(), range.end());
    scaled(text, 1, &range).ok_or_else(|| format!("accepted is a number from {first} to {last}"))
}

/// Digits alone, without the sign that `parse` would take, times the unit.
fn scaled(digits: &str, unit: u64, range: &RangeInclusive<u64>) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value = digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(unit)?;
    range.contains(&value).then_some(value)
}

fn shown_size(bytes: u64) -> String {
    let units = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    let fitting = units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fitting.map_or(bytes.to_string(), |(suffix, unit)| format!("{}{suffix}", bytes / unit))
}

/// A time longer than a year is a slip of the finger, and keeps the arithmetic of clocks far from its end.
pub(super) const TIME_MS_MAX: u64 = 8_760 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [("1", 1), ("4096", 4096), ("64K", 65_536), ("2M", 2 << 20), ("1g", 1 << 30), ("007", 7)] {
            assert_eq!(size(text, 1..=1 << 30), Ok(bytes), "{text}");
        }
        for text in
            ["", "K", "0", "2G", "-1", "+1", "1.5M", "64KB", "64 K", "1T", "18446744073709551616", "99999999999999999G"]
        {
            assert!(size(text, 1..=1 << 30).is_err(), "{text}");
        }
        assert!(size("0", 1..=1 << 30).is_err_and(|accepted| accepted.contains("1 to 1G")));
    }

    #[test]
    fn times_have_a_unit() {
        for (text, ms) in [("500ms", 500), ("25s", 25_000), ("10m", 600_000), ("1h", 3_600_000), ("8760h", TIME_MS_MAX)]
        {
            assert_eq!(time(text, 1..=TIME_MS_MAX), Ok(ms), "{text}");
        }
        for text in [
            "",
            "s",
            "ms",
            "5",
            "0s",
            "-1s",
            "+1s",
            "1.5s",
            "5 s",
            "5d",
            "5S",
            "8761h",
            "99999999999999999999h",
            "9999999999999999999h",
        ] {
            assert!(time(text, 1..=TIME_MS_MAX).is_err(), "{text}");
        }
        assert_eq!(time("0s", 0..=TIME_MS_MAX), Ok(0));
    }

    #[test]
    fn numbers_are_digits_in_a_range() {
        assert_eq!(number("7", 1..=7), Ok(7));
        for text in ["", "0", "8", "+7", "-7", "7 ", "0x7", "seven"] {
            assert!(number(text, 1..=7).is_err(), "{text}");
        }
    }
}
