//! When a photo was taken.

use super::ifd::{Ifd, tag};

/// The time at which a photo was taken, as its EXIF says: the clock of the camera and, where the
/// camera names one, its time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Milliseconds since 1970-01-01 00:00 UTC. Where no zone is known, the camera's clock is read
    /// as UTC.
    pub ms: i64,
    /// Minutes by which the zone is ahead of UTC.
    pub zone_minutes: Option<i16>,
}

impl Captured {
    /// The zone as EXIF writes it, `+02:00`.
    pub fn zone(&self) -> Option<String> {
        let minutes = self.zone_minutes?;
        let (sign, size) = (if minutes < 0 { '-' } else { '+' }, minutes.unsigned_abs());
        Some(format!("{sign}{:02}:{:02}", size / 60, size % 60))
    }

    /// The time in the EXIF directory that `ifd`, the first directory, points at; that of the
    /// picture's digitization where it has no other. `None` where there is none that can be read.
    pub(super) fn read(ifd: &Ifd<'_>) -> Option<Self> {
        let exif = ifd.at(ifd.value(tag::EXIF)?)?;
        let tags = [
            (tag::TAKEN, tag::TAKEN_ZONE, tag::TAKEN_FRACTION),
            (tag::DIGITIZED, tag::DIGITIZED_ZONE, tag::DIGITIZED_FRACTION),
        ];
        tags.into_iter().find_map(|(time, zone, fraction)| {
            let seconds = seconds_of(exif.text(time)?)?;
            let zone_minutes = exif.text(zone).and_then(minutes_of);
            let fraction = exif.text(fraction).and_then(milliseconds_of).unwrap_or(0);
            let utc = seconds - 60 * i64::from(zone_minutes.unwrap_or(0));
            Some(Self { ms: 1000 * utc + fraction, zone_minutes })
        })
    }
}

/// A number of `range` in the digits `text`.
fn number(text: &[u8], range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let digit =
        |sum: i64, byte: &u8| byte.is_ascii_digit().then(|| 10 * sum + i64::from(byte - 48));
    text.iter().try_fold(0, digit).filter(|number| range.contains(number))
}

/// Seconds since 1970 of `2019:05:01 14:03:59` in UTC.
fn seconds_of(text: &[u8]) -> Option<i64> {
    let text = text.first_chunk::<19>()?;
    let marks = [(4, b':'), (7, b':'), (10, b' '), (13, b':'), (16, b':')];
    if marks.iter().any(|&(at, mark)| text[at] != mark) {
        return None;
    }
    let (year, month) = (number(&text[..4], 1..=9999)?, number(&text[5..7], 1..=12)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let day = number(&text[8..10], 1..=last)?;
    let (hour, minute) = (number(&text[11..13], 0..=23)?, number(&text[14..16], 0..=59)?);
    let second = number(&text[17..19], 0..=60)?;
    // Years begin with March here, so that the day that some years have more is their last.
    let years = if month > 2 { year } else { year - 1 };
    let before_month = (153 * ((month + 9) % 12) + 2) / 5;
    let days = 365 * years + years / 4 - years / 100 + years / 400 + before_month + day - 719_469;
    Some(86_400 * days + 3600 * hour + 60 * minute + second)
}

/// Minutes ahead of UTC of `+02:00`.
fn minutes_of(text: &[u8]) -> Option<i16> {
    let text = text.first_chunk::<6>()?;
    let sign = match text[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let size = 60 * number(&text[1..3], 0..=15)? + number(&text[4..6], 0..=59)?;
    (text[3] == b':').then_some(sign * size as i16)
}

/// Milliseconds of the digits behind a decimal point.
fn milliseconds_of(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).take(3);
    let (number, places) = digits
        .fold((0, 0), |(number, places), byte| (10 * number + i64::from(byte - 48), places + 1));
    [None, Some(100), Some(10), Some(1)][places].map(|factor| factor * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days from a calendar that is written down elsewhere: GNU date.
    #[test]
    fn times_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("1970:01:01 00:00:00", 0),
            ("2000:02:29 12:00:00", 951_825_600),
            ("2019:05:01 14:03:59", 1_556_719_439),
            ("1900:03:01 00:00:00", -2_203_891_200),
            ("2100:03:01 00:00:00", 4_107_542_400),
            ("0001:01:01 00:00:00", -62_135_596_800),
            ("9999:12:31 23:59:59", 253_402_300_799),
        ] {
            assert_eq!(seconds_of(text.as_bytes()), Some(seconds), "{text}");
        }
        for bad in [
            "0000:00:00 00:00:00",
            "2019:02:29 00:00:00",
            "2019:13:01 00:00:00",
            "2019-05-01 14:03:59",
            "2019:05:01 24:00:00",
            "    :  :     :  :  ",
            "2019:05:01",
            "",
        ] {
            assert_eq!(seconds_of(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn zones_and_fractions() {
        assert_eq!(minutes_of(b"+02:00"), Some(120));
        assert_eq!(minutes_of(b"-09:30\0"), Some(-570));
        assert_eq!(minutes_of(b"+2:00 "), None);
        assert_eq!(minutes_of(b"Z"), None);
        assert_eq!(milliseconds_of(b"5"), Some(500));
        assert_eq!(milliseconds_of(b"05\0"), Some(50));
        assert_eq!(milliseconds_of(b"123456"), Some(123));
        assert_eq!(milliseconds_of(b"  "), None);
        let zone = |zone_minutes| Captured { ms: 0, zone_minutes }.zone();
        assert_eq!(zone(Some(-570)).as_deref(), Some("-09:30"));
        assert_eq!((zone(Some(0)).as_deref(), zone(None)), (Some("+00:00"), None));
    }
}
