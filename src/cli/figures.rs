//! Numbers for people. By hand where they have a point: the conversion of floating point to text would be 15 KB of the
//! binary, and nothing else in it needs that.

use std::time::Duration;

/// With so many digits behind the point, rounded.
pub(crate) fn decimal(value: f64, digits: u32) -> String {
    let scale = 10_u64.pow(digits);
    let scaled = (value.abs() * scale as f64).round() as u64;
    let sign = if value < 0.0 && scaled > 0 { "-" } else { "" };
    match digits {
        0 => format!("{sign}{scaled}"),
        _ => format!("{sign}{}.{:0width$}", scaled / scale, scaled % scale, width = digits as usize),
    }
}

/// A pause, as `2.5 s`.
pub(crate) fn seconds(pause: Duration) -> String {
    format!("{} s", decimal(pause.as_secs_f64(), 1))
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A time in the unit that suits it.
pub(crate) fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", decimal(us as f64 / 1e3, 2)),
        _ => format!("{} s", decimal(us as f64 / 1e6, 2)),
    }
}

/// A size in the unit that suits it.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{} KiB", decimal(count as f64 / 1_024.0, 1)),
        _ => format!("{} MiB", decimal(count as f64 / 1_048_576.0, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7, 1_500, 2_000_000].map(time), ["7 µs", "1.50 ms", "2.00 s"]);
        assert_eq!([16, 65_536, 3_145_728].map(bytes), ["16 B", "64.0 KiB", "3.0 MiB"]);
    }

    #[test]
    fn a_decimal_is_rounded() {
        for (value, digits, text) in [
            (0.0, 1, "0.0"),
            (0.06, 1, "0.1"),
            (99.999, 2, "100.00"),
            (-1.25, 1, "-1.3"),
            (-0.001, 2, "0.00"),
            (7.5, 0, "8"),
        ] {
            assert_eq!(decimal(value, digits), text);
        }
    }

    #[test]
    fn a_pause_is_told_in_seconds_and_tenths() {
        for (ms, text) in
            [(0, "0.0 s"), (49, "0.0 s"), (50, "0.1 s"), (2_449, "2.4 s"), (2_950, "3.0 s"), (3_600_000, "3600.0 s")]
        {
            assert_eq!(seconds(Duration::from_millis(ms)), text);
        }
    }
}
