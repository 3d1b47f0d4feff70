//! Which queries a page shows.

use std::collections::HashMap;

use ocelli_text::quoted;

use crate::evaluate::report::QueryScore;
use crate::{Error, Result};

/// Queries of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageChoice {
    /// At most so many, the worst value first; of equal ones the earlier first.
    Worst(usize),
    /// Those of these names, in this order.
    Named(Vec<String>),
}

impl PageChoice {
    /// Places of the chosen queries in `scores`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no query has.
    pub fn choose(&self, scores: &[QueryScore]) -> Result<Vec<usize>> {
        match self {
            Self::Worst(most) => {
                let mut all: Vec<usize> = (0..scores.len()).collect();
                all.sort_by(|&a, &b| scores[a].value.total_cmp(&scores[b].value));
                all.truncate(*most);
                Ok(all)
            }
            Self::Named(names) => {
                let places: HashMap<&str, usize> = scores
                    .iter()
                    .enumerate()
                    .map(|(at, score)| (score.name.as_str(), at))
                    .collect();
                let place = |name: &String| {
                    places.get(name.as_str()).copied().ok_or_else(|| {
                        let there = match scores.first() {
                            None => "there are no judged queries".to_owned(),
                            Some(first) => format!(
                                "there are {} judged queries, the first is {}",
                                scores.len(),
                                quoted(&first.name)
                            ),
                        };
                        let name = quoted(name);
                        Error::Invalid(format!("query {name}: no judged query has it: {there}"))
                    })
                };
                names.iter().map(place).collect()
            }
        }
    }
}
