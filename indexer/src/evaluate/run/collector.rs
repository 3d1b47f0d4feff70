//! What is kept of each ranking for the files that are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::super::dataset::{Dataset, NameRule, list_photos};
use super::super::files::{RankedRow, RankingWriter, write_per_query};
use super::super::judge::Judged;
use super::super::names::{self, Match};
use super::super::page::{PageHead, PageQueries, PageQuery, write_page};
use super::super::report::Report;
use super::Outputs;
use crate::Result;

/// Takes each judged ranking; a page shows those of the first setup.
pub(super) struct Collector {
    rankings: Option<RankingWriter>,
    /// The setup of the page, and its queries, if there is a page.
    page: Option<(String, PageQueries)>,
}

impl Collector {
    /// # Errors
    /// Those of creating the file of rankings.
    pub fn new(dataset: &Dataset, outputs: &Outputs) -> Result<Self> {
        let rankings = outputs.rankings.as_ref();
        let first = dataset.setups.first().map(|setup| setup.name.clone());
        Ok(Self {
            rankings: rankings
                .map(|(path, form)| RankingWriter::create(path, *form))
                .transpose()?,
            page: outputs
                .page
                .as_ref()
                .and_then(|(_, choice)| Some((first?, PageQueries::new(choice.clone())))),
        })
    }

    /// # Errors
    /// Those of writing.
    pub fn take(&mut self, judged: &Judged<'_>) -> Result<()> {
        if let Some(writer) = &mut self.rankings {
            let places = judged.answer.ranked.iter().zip(judged.judgements);
            let rows: Vec<RankedRow<'_>> = places
                .map(|(ranked, &judgement)| RankedRow {
                    image: &judged.keys[ranked.image as usize],
                    score: ranked.score,
                    judgement,
                })
                .collect();
            writer.query(&judged.query.name, &rows)?;
        }
        if let Some((setup, queries)) = &mut self.page
            && *setup == judged.setup.name
            && judged.score.positives > 0
            && queries.wants(&judged.query.name, judged.score.value)
        {
            // The files of photos are looked for at the end, and only of the queries that are
            // shown.
            let name = PathBuf::from(&*judged.query.photo.name);
            queries.push(PageQuery::new(judged, Some(name), |_| None));
        }
        Ok(())
    }

    /// Writes what is written at the end.
    ///
    /// # Errors
    /// Those of writing; a directory of photos that cannot be read.
    pub fn finish(mut self, dataset: &Dataset, report: &Report, outputs: &Outputs) -> Result<()> {
        if let Some(writer) = self.rankings.take() {
            writer.finish()?;
        }
        if let Some(path) = &outputs.per_query {
            write_per_query(path, report)?;
        }
        let (Some((path, _)), Some((_, queries))) = (&outputs.page, self.page) else {
            return Ok(());
        };
        let Some(setup) = report.setups.first() else { return Ok(()) };
        let mut queries = queries.finish()?;
        find_photos(dataset, &outputs.files, &mut queries)?;
        write_page(path, &PageHead::new(report, setup), &queries)?;
        Ok(())
    }
}

/// Puts files in the places of names. `files` has them by key, as far as they are known.
fn find_photos(
    dataset: &Dataset,
    files: &BTreeMap<String, PathBuf>,
    queries: &mut [PageQuery],
) -> Result<()> {
    let photos = list_photos(&dataset.photos)?;
    let names: BTreeSet<String> = queries
        .iter()
        .flat_map(|query| {
            let shown = query.photo.iter().map(|name| name.to_string_lossy().into_owned());
            shown.chain(query.hits.iter().map(|hit| hit.key.clone()))
        })
        .collect();
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let keys = || photos.iter().map(|photo| photo.key.as_str());
    let by_path = names::find(NameRule::PathEnd, &names, keys());
    // Keys may begin with folders that are above the directory of photos.
    let by_stem = names::find(NameRule::Stem, &names, keys());
    let file = |name: &str| match by_path.get(name).or(by_stem.get(name)) {
        Some(&Match::One(photo)) => Some(photos[photo].path.clone()),
        _ => None,
    };
    for query in queries {
        query.photo = query.photo.take().and_then(|name| file(&name.to_string_lossy()));
        // A photo that cannot be read is shown as such.
        query.bounding_box = query
            .bounding_box
            .zip(query.photo.as_ref())
            .and_then(|(b, photo)| dataset.stored_box(b, photo).ok());
        for hit in &mut query.hits {
            hit.photo = files.get(&hit.key).cloned().or_else(|| file(&hit.key));
        }
    }
    Ok(())
}
