//! Moments: dates and times of day as milliseconds since 1970.

use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

/// The moment of `YYYY-MM-DD`, with an optional `THH:MM[:SS[.fff]]` (or a blank for T) and then an
/// optional `Z` or `±HH:MM`; UTC where there is none. `None` if the text is no such date.
pub(super) fn parse(text: &str) -> Option<i64> {
    let date = text.get(..10)?;
    let [year, month, day] = split(date, '-', [4, 2, 2])?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(year as i32, month, u8::try_from(day).ok()?).ok()?;
    let Some(rest) = text[10..].strip_prefix(['T', 't', ' ']) else {
        return (text.len() == 10).then(|| ms(OffsetDateTime::new_utc(date, Time::MIDNIGHT)));
    };
    let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = match clock.len() {
        5 => split(&format!("{clock}:00"), ':', [2, 2, 2])?,
        _ => split(clock, ':', [2, 2, 2])?,
    };
    if fraction.is_empty() || fraction.len() > 9 || !digits(fraction) {
        return None;
    }
    let milli = format!("{fraction:0<3}")[..3].parse().ok()?;
    let time = Time::from_hms_milli(hour as u8, minute as u8, second as u8, milli).ok()?;
    let offset = match zone {
        "" | "Z" | "z" => UtcOffset::UTC,
        _ => {
            let [hours, minutes] = split(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            UtcOffset::from_hms(sign * hours as i8, sign * minutes as i8, 0).ok()?
        }
    };
    Some(ms(OffsetDateTime::new_in_offset(date, time, offset)))
}

/// The moment in the form that [`parse`] reads; the bare number where the calendar ends.
pub(super) fn show(ms: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000) else {
        return ms.to_string();
    };
    if at.year() < 0 {
        return ms.to_string();
    }
    let (date, milli) = (at.date(), at.millisecond());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{milli:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn ms(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1_000_000) as i64
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Numbers of so many digits between separators.
fn split<const N: usize>(text: &str, at: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut out = [0; N];
    let mut parts = text.split(at);
    for (out, width) in out.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width && digits(part))?;
        *out = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}
