//! Time as the life of keys counts it: seconds since 1970, UTC; days as `YYYYMMDD`, and as people write them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{Moment, days_since_1970, moment};

pub use crate::time::DAY;

/// The system's clock. Some 20 ns.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `CK_DATE`: eight digits.
pub fn day(time: u64) -> String {
    let Moment { year, month, day, .. } = moment(time);
    format!("{year:04}{month:02}{day:02}")
}

/// The first second of a `CK_DATE`; `None` where it is empty, no day, or before 1970.
pub fn of_day(text: &[u8]) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        let digits = text.get(range)?;
        digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
    };
    let (year, month, date) = (number(0..4)?, number(4..6)?, number(6..8)?);
    if text.len() != 8 || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || date == 0 {
        return None;
    }
    let time = days_since_1970(year, month, date) * DAY;
    // A day that the month has not is one of the next.
    (moment(time).day == date).then_some(time)
}

/// `2027-03-01T12:00:00Z`.
pub fn text(time: u64) -> String {
    let Moment { year, month, day, hour, minute, second, .. } = moment(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2027-03-01`, `2027-03-01T12:00:00Z`, `now`, or from now `+90d`, `-2h`. The error says what is expected.
pub fn parse(text: &str, now: u64) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time: expected 2027-03-01, 2027-03-01T12:00:00Z, now, +90d or -2h");
    if text == "now" {
        return Ok(now);
    }
    if let Some(ahead) = text.strip_prefix('+') {
        return Ok(now.saturating_add(parse_span(ahead)?));
    }
    if let Some(back) = text.strip_prefix('-') {
        return Ok(now.saturating_sub(parse_span(back)?));
    }
    let (day, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
    let digits: String = day.split('-').collect();
    let day = of_day(digits.as_bytes()).filter(|_| day.len() == 10).ok_or_else(wrong)?;
    let time = time.strip_suffix('Z').ok_or_else(wrong)?;
    let mut parts = time.split(':').map(|part| part.parse::<u64>().ok().filter(|_| part.len() == 2));
    match (parts.next().flatten(), parts.next().flatten(), parts.next(), parts.next()) {
        (Some(hour @ 0..24), Some(minute @ 0..60), second, None) => match second.unwrap_or(Some(0)) {
            Some(second @ 0..60) => Ok(day + hour * 3600 + minute * 60 + second),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// A length of time in seconds: `90d`, `12h`, `30m`, `45s`, `2w`, `1y` (365 days).
pub fn parse_span(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no length of time: expected a number with s, m, h, d, w or y, such as 90d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => DAY,
        'w' => 7 * DAY,
        'y' => 365 * DAY,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|span| *span <= 1000 * 365 * DAY).ok_or_else(wrong)
}

/// A length of time as [`parse_span`] reads it, in its largest whole unit.
pub fn span(seconds: u64) -> String {
    let units = [('y', 365 * DAY), ('w', 7 * DAY), ('d', DAY), ('h', 3600), ('m', 60)];
    let whole = units.into_iter().find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{seconds}s"), |(name, unit)| format!("{}{name}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_go_there_and_back() {
        for (text, days) in [("19700101", 0), ("19700301", 59), ("20000229", 11_016), ("20261128", 20_785)] {
            assert_eq!(of_day(text.as_bytes()), Some(days * DAY), "{text}");
            assert_eq!(day(days * DAY + 5), text);
        }
        for time in (0..80_000).map(|day| day * DAY) {
            assert_eq!(of_day(day(time).as_bytes()), Some(time));
        }
        for bad in ["", "20230229", "1969123", "19691231", "2023022a"] {
            assert_eq!(of_day(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        let time = parse("2027-03-01T12:34:56Z", 0).unwrap();
        assert_eq!(text(time), "2027-03-01T12:34:56Z");
        assert_eq!(parse("2027-03-01", 0).unwrap(), time - 12 * 3600 - 34 * 60 - 56);
        assert_eq!(parse("+90d", 100).unwrap(), 100 + 90 * DAY);
        assert_eq!(parse("-2h", 10_000).unwrap(), 2800);
        for bad in
            ["", "tomorrow", "2027-02-30", "2027-03-01T25:00:00Z", "2027-03-01T12:00:00", "+d", "+90x", "20270301"]
        {
            assert!(parse(bad, 0).is_err(), "{bad}");
        }
        for text in ["45s", "30m", "36h", "90d", "2w", "1y"] {
            assert_eq!(span(parse_span(text).unwrap()), text);
        }
    }
}
