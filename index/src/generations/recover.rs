//! The way on where CURRENT is lost, or the generation that it names.

use super::change::{CommitOptions, Committed, Draft, Outcome};
use super::manifest::{Generation, checksum_of};
use super::{CURRENT, IndexDir, Seen};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;

/// Largest number of a generation that is believed where only CURRENT has it.
const MOST: u64 = 1 << 53;

/// What is known of the current generation where it is lost.
#[derive(Clone, Debug)]
pub struct LostCurrent {
    /// The generation that was current; none where CURRENT does not tell.
    pub number: Option<u64>,
    /// The reason why it is lost; none where there is no CURRENT.
    pub error: Option<Error>,
}

/// A way back in an index whose current generation is lost.
#[derive(Clone, Copy, Debug)]
pub struct WayBack {
    /// The generation that stands for the lost one: what its delete log says stays deleted.
    pub from: u64,
    /// The generation whose rows are the index again.
    pub to: u64,
    /// Rows that were deleted since come back.
    pub undo_deletes: bool,
    /// Numbers of generations up to this one were given.
    pub above: u64,
    /// Ids below this one were given.
    pub next_id: u64,
}

impl IndexDir {
    /// What is known of the current generation, if it is lost: if CURRENT, or the generation's
    /// file, is missing or damaged. None if the current generation can be read, or the index never
    /// had one.
    ///
    /// # Errors
    /// [`Error::NewerVersion`]; [`Error::Io`] for what the operating system does not give: nothing
    /// is lost then.
    pub fn lost_current(&self) -> Result<Option<LostCurrent>> {
        let error = match self.current() {
            Ok(Some(_)) => return Ok(None),
            Ok(None) if self.generations()?.is_empty() => return Ok(None),
            Ok(None) => return Ok(Some(LostCurrent { number: None, error: None })),
            Err(error) if error.is_lost() => error,
            Err(error) => return Err(error),
        };
        Ok(Some(LostCurrent { number: self.named_current()?, error: Some(error) }))
    }

    /// The number of the generation that CURRENT names, as far as it tells. Its checksum belongs to
    /// one generation, and says more than the number.
    fn named_current(&self) -> Result<Option<u64>> {
        let bytes = self.storage.read(CURRENT)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let Some((number, checksum)) = text.split_once(' ') else { return Ok(None) };
        if let Ok(checksum) = checksum.trim_end().parse::<Hash>() {
            for number in self.generations()? {
                match self.generation(number) {
                    Ok(found) if checksum_of(&found)? == checksum => return Ok(Some(number)),
                    Ok(_) => {}
                    Err(error) if error.is_lost() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(number.parse().ok().filter(|&number: &u64| number < MOST))
    }

    /// Goes back to a generation where the current one is lost. It becomes current itself, or,
    /// where rows stay deleted, or numbers or ids were given of which no generation's file tells,
    /// as a new generation. All is checked before anything is changed.
    ///
    /// # Errors
    /// [`Error::Conflict`] if a generation is current, or becomes current meanwhile;
    /// [`Error::Invalid`] for one with rows that were erased; those of [`Self::generation`] and of
    /// opening its files; a delete log that is damaged, unless `undo_deletes`. The index is then as
    /// it was.
    pub fn go_back(&self, way: &WayBack, options: &CommitOptions<'_>) -> Result<Committed> {
        let _guard = self.storage.guard(false)?;
        let bytes = self.storage.read(CURRENT)?;
        if self.lost_current()?.is_none() {
            return Err(Error::Conflict {
                what: format!(
                    "{}: a generation is current, expected an index whose current generation is \
                     lost: another command mended it; look at what is current",
                    self.root().display()
                ),
            });
        }
        let from = self.generation(way.from)?;
        let target = self.generation(way.to)?;
        let mut outcome = self.way_back(&from, target, way.undo_deletes, || Ok(way.next_id))?;
        if let Outcome::Activate(target) = &outcome
            && !self.is_last_word(target, way)?
        {
            let mut draft = Draft::again(target, way.next_id);
            draft.parent = target.parent;
            outcome = Outcome::Publish(Box::new(draft));
        }
        if let Outcome::Publish(draft) = &mut outcome {
            draft.above = way.above;
        }
        self.apply(Seen { bytes, generation: Some(from) }, outcome, options)
    }

    /// Whether the generations' files tell, with `target` current, of all numbers and ids that were
    /// given.
    fn is_last_word(&self, target: &Generation, way: &WayBack) -> Result<bool> {
        let last = self.generations()?.last().copied().unwrap_or(0);
        let next_id = match self.next_id(Some(target)) {
            Ok(next_id) => next_id,
            Err(error) if error.is_lost() => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(last >= way.above && next_id >= way.next_id)
    }
}
