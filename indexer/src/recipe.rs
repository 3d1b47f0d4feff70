//! The recipe of a model, from rows to its file: trained, or taken as it is, and its finer codes.

use std::fmt;
use std::str::FromStr;

use ocelli_index::{Model, Part, as_text};
use serde::{Deserialize, Serialize};

use crate::fine::{FineChoice, FineOptions, FineReport, check as check_fine, train_fine_codec};
use crate::threads::pool;
use crate::train::{LearnOpq, Outline, TrainOptions, TrainReport, outline, train};
use crate::{Error, ProgressFn, Result};

/// The wish for finer codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FineCodes {
    /// Codes that suit the model ([`FineChoice::by_default`]).
    #[default]
    Auto,
    /// No finer codes.
    None,
    /// Codes of this kind.
    Of(FineChoice),
}

impl FineCodes {
    /// Whether the finer codes, as far as they are known before training, have bytes of their own.
    #[must_use]
    pub fn adds_bytes(self) -> bool {
        matches!(self, Self::Of(choice) if choice.adds_bytes())
    }

    fn choice(self, model: &Model) -> Option<FineChoice> {
        match self {
            Self::Auto => FineChoice::by_default(model),
            Self::None => None,
            Self::Of(choice) => Some(choice),
        }
    }
}

impl FromStr for FineCodes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            kind => kind.parse().map(Self::Of),
        }
    }
}

impl fmt::Display for FineCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Of(choice) => choice.fmt(f),
        }
    }
}

/// Everything that decides a model but its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The training. Where a model is taken as it is, only what finer codes need counts.
    pub train: TrainOptions,
    /// The finer codes.
    #[serde(with = "as_text")]
    pub fine_codes: FineCodes,
}

/// Report of a model that was made.
#[derive(Clone, Debug, Serialize)]
pub struct RecipeReport {
    /// None if a model was taken as it was.
    #[serde(flatten)]
    pub trained: Option<TrainReport>,
    /// None without finer codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fine_codes: Option<FineReport>,
}

impl Recipe {
    /// Makes the model from `parts`; of `base`, if that is given, everything but the finer codes.
    ///
    /// # Errors
    /// Those of [`train`] and [`train_fine_codec`].
    pub fn make(
        &self,
        parts: &[Part],
        base: Option<Model>,
        learn_opq: LearnOpq<'_>,
        progress: ProgressFn<'_>,
    ) -> Result<(Model, RecipeReport)> {
        let mut report = RecipeReport { trained: None, fine_codes: None };
        let mut model = match base {
            Some(base) => base,
            None => {
                let (model, trained) = train(parts, &self.train, learn_opq, progress)?;
                report.trained = Some(trained);
                model
            }
        };
        if let Some(choice) = self.fine_codes.choice(&model) {
            let (with_codes, fine) =
                train_fine_codec(parts, model, &self.fine_options(choice), progress)?;
            (model, report.fine_codes) = (with_codes, Some(fine));
        }
        Ok((model, report))
    }

    fn fine_options(&self, choice: FineChoice) -> FineOptions {
        let TrainOptions { niter, seed, threads, force, .. } = self.train;
        FineOptions { choice, niter, seed, threads, force }
    }

    /// Facts of the training, none where `base` is taken as it is. Refuses what [`Self::make`]
    /// would refuse without reading rows.
    pub(crate) fn check(&self, parts: &[Part], base: Option<&Model>) -> Result<Option<Outline>> {
        if let Some(base) = base {
            if let Some(choice) = self.fine_codes.choice(base) {
                check_fine(parts, base, &self.fine_options(choice))?;
            }
            return Ok(None);
        }
        let outline = outline(parts, &self.train)?;
        if let FineCodes::Of(choice) = self.fine_codes {
            choice.check_dim(outline.d)?;
        }
        Ok(Some(outline))
    }

    /// The recipe that gives the model of this one, whatever the number of cores is: a rotation
    /// depends on the number of threads that learn it.
    pub(crate) fn settled(mut self, outline: Option<&Outline>) -> Result<Self> {
        if let Some(outline) = outline {
            self.train.opq = Some(outline.opq);
            if outline.opq && self.train.threads == 0 {
                self.train.threads = pool(0)?.current_num_threads();
            }
        }
        Ok(self)
    }
}
