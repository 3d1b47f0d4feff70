//! Which queries a page shows.

use std::collections::HashMap;

use ocelli_text::quoted;

use super::PageQuery;
use crate::{Error, Result};

/// Choice of a page's queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageChoice {
    /// At most so many, the worst value first; of equal ones the earlier first.
    Worst(usize),
    /// The queries of these names, in this order.
    Named(Vec<String>),
}

/// The queries of a page while a run goes on: no more are kept than the page will show.
#[derive(Debug)]
pub struct PageQueries {
    choice: PageChoice,
    /// The choice so far, for [`PageChoice::Worst`] in order.
    kept: Vec<PageQuery>,
}

impl PageQueries {
    /// No query yet.
    pub fn new(choice: PageChoice) -> Self {
        Self { choice, kept: Vec::new() }
    }

    /// Whether a query of this name and value would be kept now.
    pub fn wants(&self, name: &str, value: f64) -> bool {
        match &self.choice {
            PageChoice::Worst(most) => {
                self.kept.len() < *most || self.kept.last().is_some_and(|last| value < last.value)
            }
            PageChoice::Named(names) => names.iter().any(|wanted| wanted == name),
        }
    }

    /// Keeps a query if it is chosen; another one may have to go.
    pub fn push(&mut self, query: PageQuery) {
        if !self.wants(&query.name, query.value) {
            return;
        }
        match self.choice {
            PageChoice::Worst(most) => {
                let at = self.kept.partition_point(|kept| kept.value <= query.value);
                self.kept.insert(at, query);
                self.kept.truncate(most);
            }
            PageChoice::Named(_) => self.kept.push(query),
        }
    }

    /// The chosen queries, in the page's order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that no query had.
    pub fn finish(self) -> Result<Vec<PageQuery>> {
        let names = match self.choice {
            PageChoice::Worst(_) => return Ok(self.kept),
            PageChoice::Named(names) => names,
        };
        let mut kept: HashMap<String, PageQuery> =
            self.kept.into_iter().map(|query| (query.name.clone(), query)).collect();
        let mut chosen: Vec<PageQuery> = Vec::with_capacity(names.len());
        for name in &names {
            match kept.remove(name) {
                Some(query) => chosen.push(query),
                None if chosen.iter().any(|query| query.name == *name) => {}
                None => {
                    let name = quoted(name);
                    return Err(Error::Invalid(format!("{name}: no judged query has this name")));
                }
            }
        }
        Ok(chosen)
    }
}
