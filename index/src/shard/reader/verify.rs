//! Proves that everything in a shard is sound and agrees.

use ocelli_vector::adc;

use super::{ListRows, Shard};
use crate::base::error::{Error, Result};
use crate::model::Model;

impl Shard {
    /// Proves every checksum, and that lists, ordinals, ids and keys agree with their maps.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first thing that is wrong.
    pub fn verify(&self) -> Result<()> {
        self.file.verify()?;
        self.verify_lists()?;
        self.verify_names()?;
        self.columns().map_or(Ok(()), |columns| columns.verify(&self.file))
    }

    /// Checks that each row is in the list that the list map names.
    fn verify_lists(&self) -> Result<()> {
        for (list, entry) in (0u32..).zip(self.table()?) {
            let mut last = None;
            for i in 0..entry.len {
                let ordinal = self.ordinal(entry.first + i)?;
                if last.is_some_and(|l| l >= ordinal)
                    || self.list_of.get(&self.file, ordinal)? != u64::from(list)
                {
                    return Err(Error::corrupt(
                        self.path(),
                        format!(
                            "ordinal {ordinal} in list {list} disagrees with the list map or the \
                             order"
                        ),
                    ));
                }
                last = Some(ordinal);
            }
        }
        Ok(())
    }

    /// Checks that ids and keys lead to their rows.
    fn verify_names(&self) -> Result<()> {
        for ordinal in 0..self.meta.rows {
            if self.find_id(self.id(ordinal)?)? != Some(ordinal) {
                return Err(Error::corrupt(
                    self.path(),
                    format!("id of ordinal {ordinal} does not lead back to it"),
                ));
            }
        }
        if let Some(keys) = &self.keys {
            let mut keyed = 0;
            keys.each(&self.file, |ordinal, key| {
                if !key.is_empty() && self.find_key(key)? != Some(ordinal as u32) {
                    return Err(Error::corrupt(
                        self.path(),
                        format!("key of ordinal {ordinal} does not lead back to it"),
                    ));
                }
                keyed += u32::from(!key.is_empty());
                Ok(())
            })?;
            if keyed != self.meta.keyed {
                return Err(Error::corrupt(
                    self.path(),
                    format!("{keyed} rows have a key, its meta says {}", self.meta.keyed),
                ));
            }
        }
        Ok(())
    }

    /// Checks that codewords are those of `model`, under which the shard was opened, and that no
    /// scalar is above the term that it bounds.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first row that is wrong.
    pub(crate) fn verify_codes(&self, model: &Model) -> Result<()> {
        let p = model.parts();
        let (mut code, mut residual) = (vec![0; p.m], vec![0f32; p.d]);
        for list in 0..self.meta.nlist {
            let ListRows { entry, codes, scalars } = self.list_rows(list)?;
            for i in 0..entry.len as usize {
                self.layout.get(codes, entry.len as usize, i, &mut code);
                let corrupt = |what: String| {
                    Err(Error::corrupt(self.path(), format!("list {list}, row {i}: {what}")))
                };
                if let Some(c) = code.iter().find(|&&c| usize::from(c) >= p.ksub) {
                    return corrupt(format!("codeword {c} of {}", p.ksub));
                }
                let Some(&scalar) = scalars.and_then(|s| s.get(i)) else { continue };
                adc::decode(&p.codebooks, p.ksub, &code, &mut residual);
                let term = adc::l2_term(model.centroid(list), &residual);
                let bound = entry.scalar_min + entry.scalar_step * f32::from(scalar);
                // A term that is no number has no bound.
                if bound > term {
                    return corrupt(format!("its scalar says at least {bound}, its code {term}"));
                }
            }
        }
        self.intact()
    }
}
