//! What a way back loses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ocelli_index::{Generation, IndexDir, LostCurrent, object_names};

use super::state::{Now, State};
use crate::lifecycle::remains::{Loose, Remains, loose_shards};

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Most shards that a loss names.
const NAMED: usize = 3;

/// Milliseconds since 1970 as a time of UTC.
pub(super) fn time_text(ms: u64) -> String {
    // Days to a date of the Gregorian calendar, whose years begin in March for this.
    let days = (ms / DAY_MS) as i64 + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let seconds = ms % DAY_MS / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Generations as people know them.
#[derive(Debug)]
pub(super) struct Losses {
    /// Each generation that there is, and the one that CURRENT names: a phrase.
    phrases: BTreeMap<u64, String>,
    /// Lost ones of whose deletions nothing is known.
    forgotten: BTreeSet<u64>,
    /// The current one, or the one that CURRENT names.
    current: Option<u64>,
    /// Those that it was made from, as far as is known.
    line: Vec<u64>,
    /// Sound ones that may be meant where it is lost what the current one was made from.
    others: Vec<u64>,
    /// Whether its file is another one than CURRENT names.
    is_other: bool,
    /// Whether the index has lost CURRENT with its number; then the generations that are sound.
    unknown: Option<Vec<u64>>,
    /// The traces of a generation above all files, where the index has lost CURRENT with its
    /// number.
    later: Option<String>,
    /// The shards that no generation names, where a lost one may have named them.
    unused: Option<String>,
}

/// A generation in a phrase: its number, rows, command and time.
fn phrase(dir: &IndexDir, generation: &Generation) -> String {
    let dead = generation.tombstones.values();
    let dead: Option<u64> = dead.map(|hash| Some(dir.tombstones(hash, u32::MAX).ok()?.len())).sum();
    let mut text = format!("generation {}", generation.number);
    let rows = match dead {
        Some(dead) => generation.rows().saturating_sub(dead),
        None => generation.rows(),
    };
    let most = if dead.is_none() { "at most " } else { "" };
    text += &format!(" ({most}{}", ocelli_text::counted(rows, "row"));
    if let Some(made) = &generation.made_by {
        text += &format!(", by `ocelli {}`", made.command);
        if made.time_ms > 0 {
            text += &format!(" at {}", time_text(made.time_ms));
        }
    }
    text + ")"
}

impl Losses {
    pub(super) fn new(dir: &IndexDir, state: &State, sound: &[u64]) -> Self {
        let (current, is_lost) = (state.number(), matches!(state.now, Now::Lost(_)));
        let (mut phrases, mut lost) = (BTreeMap::new(), BTreeSet::new());
        for &number in state.numbers.iter().chain(&current) {
            let text = match state.readable.get(&number) {
                Some(generation) => phrase(dir, generation),
                None => {
                    lost.insert(number);
                    let file = match state.numbers.contains(&number) {
                        true => "cannot be read",
                        false => "is lost",
                    };
                    let since = written(dir).filter(|_| current == Some(number));
                    format!("generation {number} (its file {file}{})", since.unwrap_or_default())
                }
            };
            phrases.insert(number, text);
        }
        let is_other = is_lost && current.is_some_and(|number| is_other(dir, number));
        let unknown = (is_lost && current.is_none()).then(|| sound.to_vec());
        let later = match &state.now {
            Now::Lost(lost) if lost.number.is_none() => later(dir, state, lost),
            _ => None,
        };
        let may_name = is_lost && current.is_none_or(|number| lost.contains(&number));
        let unused = may_name.then(|| unused(dir, &state.readable)).flatten();
        let forgotten = match state.stand_in() {
            Some(known) if is_lost => lost.split_off(&known.number.saturating_add(1)),
            _ => BTreeSet::new(),
        };
        let others = if may_name { sound.to_vec() } else { Vec::new() };
        Self {
            phrases,
            forgotten,
            current,
            line: state.line(),
            others,
            is_other,
            unknown,
            later,
            unused,
        }
    }

    fn name(&self, number: u64) -> &str {
        self.phrases.get(&number).map_or("", String::as_str)
    }

    /// The loss of a way back to a generation; none if nothing is lost.
    pub(super) fn after(&self, to: u64, undo_deletes: bool) -> Option<String> {
        let last = self.current.unwrap_or(u64::MAX);
        let mut parts = Vec::new();
        if let Some(sound) = &self.unknown {
            let first = match &self.later {
                Some(later) => format!("{later}; CURRENT does not tell any more which was current"),
                None => format!(
                    "nothing if generation {to} was current, which CURRENT does not tell any more"
                ),
            };
            parts.push(format!(
                "{first}: after a way back, or a change that was stopped, it was an earlier one; \
                 {} can be used",
                listed(sound.iter())
            ));
        } else if !self.line.contains(&to) {
            parts.push(format!(
                "what {} had; generation {to} was rolled back from, or never became current: look \
                 at it before you serve it",
                self.name(last)
            ));
        } else if to < last {
            parts.extend(self.since(to, last, undo_deletes));
        } else if self.is_other {
            parts.push(format!(
                "what generation {to} had, if its file was replaced: CURRENT has another checksum \
                 for it"
            ));
        }
        if !parts.is_empty() {
            parts.extend(self.unused.clone());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// The loss of a way from generation `last` back to `to`, which it was made from.
    fn since(&self, to: u64, last: u64, undo_deletes: bool) -> Vec<String> {
        let between = |number: &&u64| **number > to && **number <= last;
        let newer: Vec<u64> = self.phrases.keys().filter(between).copied().collect();
        let names: Vec<&str> = newer.iter().map(|&number| self.name(number)).collect();
        let mut parts =
            vec![format!("all that was done after {}: {}", self.name(to), names.join(", "))];
        let lost = listed(newer.iter().filter(|number| self.forgotten.contains(number)));
        parts.push(match (undo_deletes, lost.is_empty()) {
            (true, _) => "rows that were deleted since come back".to_owned(),
            (false, true) => "rows that were deleted since stay deleted".to_owned(),
            (false, false) => format!(
                "rows that generation {lost} deleted come back, others that were deleted since \
                 stay deleted"
            ),
        });
        let others = listed(self.others.iter().filter(|&&number| number < to));
        if !others.is_empty() {
            parts.push(format!(
                "if generation {to} was rolled back from, take an earlier one: {others} can be used"
            ));
        }
        parts
    }
}

/// Numbers in a phrase.
fn listed<'a>(numbers: impl Iterator<Item = &'a u64>) -> String {
    numbers.map(u64::to_string).collect::<Vec<String>>().join(", ")
}

/// The traces of a generation above all whose files are there, in a phrase: its number in the
/// delete log or a backup, or ids that no generation's file knows.
fn later(dir: &IndexDir, state: &State, lost: &LostCurrent) -> Option<String> {
    let newest = state.numbers.last().copied().unwrap_or(0);
    let known = state.readable.values().map(|found| found.next_id).max().unwrap_or(0);
    let (number, next_id) = Remains::read(dir).ok()?.given(Some(lost)).ok()?;
    let trace = match (number > newest, next_id > known) {
        (true, _) => format!("the delete log or a backup tells of generation {number}"),
        (false, true) => format!(
            "shards or the delete log tell of ids up to {}, of which no generation's file tells",
            next_id - 1
        ),
        (false, false) => return None,
    };
    Some(format!(
        "all that was done after generation {newest}, if a later one was current: {trace}; its \
         file is lost, unless the change was stopped before it became current; rows that it \
         deleted come back"
    ))
}

/// The shards that no generation names, in a phrase.
fn unused(dir: &IndexDir, readable: &BTreeMap<u64, Generation>) -> Option<String> {
    let loose = loose_shards(dir, readable).ok()?;
    let name = |shard: &Loose| match shard.rows {
        Some(rows) => format!("{} ({})", shard.name, ocelli_text::counted(rows, "row")),
        None => format!("{} (rows not known)", shard.name),
    };
    let names: Vec<String> = loose.iter().take(NAMED).map(name).collect();
    let more = match loose.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!loose.is_empty()).then(|| {
        format!(
            "{} that no generation names {} in the directory unused: {}{more}; the next \
             `ocelli gc --yes` removes {}: copy what may be needed before",
            ocelli_text::counted(loose.len() as u64, "shard"),
            if loose.len() == 1 { "lies" } else { "lie" },
            names.join(", "),
            if loose.len() == 1 { "it" } else { "them" }
        )
    })
}

/// Whether the file of the generation that CURRENT names has another checksum than CURRENT says.
fn is_other(dir: &IndexDir, number: u64) -> bool {
    let line = fs::read_to_string(dir.root().join("CURRENT")).unwrap_or_default();
    let file =
        fs::read_to_string(dir.root().join(object_names::generation(number))).unwrap_or_default();
    line.split_once(' ').is_none_or(|(_, checksum)| !file.contains(checksum.trim()))
}

/// When CURRENT was written, where that can be known.
fn written(dir: &IndexDir) -> Option<String> {
    let time = fs::metadata(dir.root().join("CURRENT")).ok()?.modified().ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as u64;
    Some(format!("; CURRENT has named it since {}", time_text(since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of `date -u -d @SECONDS`.
    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20Z"),
        ] {
            assert_eq!(time_text(ms), text);
        }
    }
}
