//! UTC as RFC 3339 writes it, by the proleptic Gregorian calendar.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970; a clock before that counts as 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A moment of UTC in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    /// 0: Monday.
    pub weekday: u64,
}

pub const DAY: u64 = 86_400;

/// The parts of a number of seconds since 1970.
pub fn moment(seconds: u64) -> Moment {
    let (days, rest) = (seconds / DAY, seconds % DAY);
    // Years from March on, in eras of 400 years: the leap day is a year's last.
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    Moment {
        year: year_of_era + era * 400 + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
        hour: rest / 3600,
        minute: rest / 60 % 60,
        second: rest % 60,
        weekday: (days + 3) % 7,
    }
}

/// `2026-11-28T17:49:52.123456Z`, from microseconds since 1970.
pub fn text(micros: u64) -> String {
    let Moment { year, month, day, hour, minute, second, .. } = moment(micros / 1_000_000);
    let fraction = micros % 1_000_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

/// The reverse; also `2026-11-28` and `2026-11-28T17:49:52Z`. Microseconds since 1970.
pub fn parse(text: &str) -> Option<u64> {
    let (date, clock) = match text.split_once('T') {
        Some((date, clock)) => (date, clock.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let numbers = |text: &str, sign: char, limits: [u64; 3]| -> Option<[u64; 3]> {
        let mut parts = text
            .split(sign)
            .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten());
        let found = [parts.next()??, parts.next()??, parts.next()??];
        let fits = found.iter().zip(limits).all(|(number, limit)| *number <= limit);
        (fits && parts.next().is_none()).then_some(found)
    };
    let [year, month, day] = numbers(date, '-', [9999, 12, 31])?;
    let [hour, minute, second] = numbers(clock, ':', [23, 59, 60])?;
    if year < 1970 || month == 0 || day == 0 || fraction.len() > 6 {
        return None;
    }
    let micros = fraction.parse::<u64>().ok()?.checked_mul(10u64.checked_pow(6 - fraction.len() as u32)?)?;
    Some((days_since_1970(year, month, day) * DAY + hour * 3600 + minute * 60 + second) * 1_000_000 + micros)
}

/// Of a day from 1970 on, the month and the day counted from 1. A day that its month has not is one of the next.
pub const fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_leap_years_and_centuries_come_back() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(text(seconds * 1_000_000), shown);
            assert_eq!(parse(shown), Some(seconds * 1_000_000));
        }
        for day in 0..60_000u64 {
            let micros = day * DAY * 1_000_000 + 123_456;
            assert_eq!(parse(&text(micros)), Some(micros));
        }
        assert_eq!(parse("2026-11-28"), parse("2026-11-28T00:00:00Z"));
        assert_eq!(moment(1_795_862_992).weekday, 5, "28 November 2026 is a Saturday");
        for wrong in
            ["", "2026-13-01", "2026-1-1T1:1:1", "2026-11-28T24:00:00Z", "+2026-11-28", "2026-11-28T00:00:00.1234567Z"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
