//! Reports for people.

use ocelli_indexer::evaluate::expect::Outcome;
use ocelli_indexer::evaluate::measures::Ties;
use ocelli_indexer::evaluate::prepare::Prepared;
use ocelli_indexer::evaluate::report::{Report, SetupReport};

use crate::output::{cell, counted, thousands};

/// Names that the text lists before it counts the others; JSON has them all.
const NAMES_SHOWN: usize = 10;

/// Columns of the table after the measure that a set is known by, where they differ from it.
const COLUMNS: [&str; 10] =
    ["mAP", "mP@1", "mP@5", "mP@10", "recall@1", "recall@5", "recall@10", "MRR", "µAP", "R@P90"];

/// The column that is shown only where pairs are judged.
const PAIRS_ONLY: &str = "R@P90";

/// The first few names, and how many more there are.
pub fn some(names: &[String]) -> String {
    let shown =
        names.iter().take(NAMES_SHOWN).map(|name| cell(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {} more", thousands(more as u64)),
    }
}

/// The steps from photos to what is searched.
pub fn prepared(prepared: &Prepared) -> String {
    let mut text = String::new();
    for step in &prepared.steps {
        let how = match step.kept {
            true => "kept".to_owned(),
            false => format!("{:.1} s", step.seconds),
        };
        text += &format!("{} ({how})\n", cell(&step.what));
    }
    for note in &prepared.notes {
        text += &format!("{note}\n");
    }
    for (what, names) in [
        ("photos of the database that are missing", &prepared.missing),
        ("queries whose photos are missing", &prepared.missing_queries),
        ("photos of the lists that are missing", &prepared.unknown),
    ] {
        if !names.is_empty() {
            let count = thousands(names.len() as u64);
            text += &format!("{what}, {count}: {}\n", some(names));
        }
    }
    text + "\n"
}

/// The line about photos that could not be encoded, if there are any.
pub fn rejected(prepared: &Prepared) -> Option<String> {
    let rejected: Vec<String> = prepared
        .rejected
        .iter()
        .map(|photo| match &photo.key {
            Some(key) => format!("{key} ({})", photo.reason),
            None => format!("a line of {} ({})", photo.list, photo.reason),
        })
        .collect();
    let count = thousands(rejected.len() as u64);
    (!rejected.is_empty())
        .then(|| format!("photos that could not be encoded, {count}: {}", some(&rejected)))
}

/// A report: what was judged, a table of the setups, and what was left out.
pub fn report(report: &Report, outcomes: &[Outcome], per_query: bool) -> String {
    let mut text = format!(
        "{}: protocol {}, because {}\nsearch: {}\n",
        cell(&report.dataset),
        report.form,
        cell(&report.why),
        report.search
    );
    if let Some(distractors) = report.distractors.filter(|&n| n > 0) {
        text += &format!(
            "distractors, which the data set does not list: {}\n",
            thousands(distractors as u64)
        );
    }
    if report.listed_missing > 0 {
        text += &format!(
            "photos of the data set that are NOT in the database: {}\n",
            thousands(report.listed_missing as u64)
        );
    }
    if report.damaged > 0 {
        text += &format!(
            "taken out of every ranking: {}\n",
            counted(report.damaged as u64, "photo that is published as damaged")
        );
    }
    text += "\n";
    text += &table(&report.setups);
    for setup in &report.setups {
        for note in notes(setup) {
            text += &format!("{}: {note}\n", cell(&setup.setup));
        }
    }
    if per_query {
        for setup in &report.setups {
            text += &format!("\n{}\n", cell(&setup.setup));
            text += &queries(setup);
        }
    }
    for outcome in outcomes {
        let verdict = if outcome.holds { "as expected" } else { "NOT as expected" };
        text += &format!(
            "{verdict}: {}, found {:.4} ({}, {})\n",
            outcome.expectation, outcome.found, outcome.setup, outcome.measure
        );
    }
    text
}

/// One line for each setup.
fn table(setups: &[SetupReport]) -> String {
    let shown = |name: &str| {
        let known = |setup: &SetupReport| setup.measures.contains_key(name);
        let headline = |setup: &SetupReport| setup.measure == name;
        setups.iter().any(known) && !setups.iter().all(headline)
    };
    let pairs = setups.iter().any(|setup| setup.measure == "µAP");
    let columns: Vec<&str> =
        COLUMNS.into_iter().filter(|name| shown(name) && (pairs || *name != PAIRS_ONLY)).collect();
    let mut header = vec!["setup".to_owned(), "queries".to_owned(), "measure".to_owned()];
    header.extend(columns.iter().map(|column| (*column).to_owned()));
    let rows = setups.iter().map(|setup| {
        let interval = setup
            .interval
            .map_or_else(String::new, |[low, high]| format!(" ({low:.4} to {high:.4})"));
        let mut row = vec![
            cell(&setup.setup).into_owned(),
            thousands(setup.queries.len() as u64),
            format!("{} {:.4}{interval}", setup.measure, setup.value),
        ];
        row.extend(columns.iter().map(|column| {
            setup.measures.get(*column).map_or_else(String::new, |value| format!("{value:.4}"))
        }));
        row
    });
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        text += &format!("{:1$}", row[0], widths[0]);
        for (value, width) in row.iter().zip(&widths).skip(1) {
            text += &format!("  {value:>width$}");
        }
        text += "\n";
    }
    text
}

/// What a reader must know of a setup's figures.
fn notes(setup: &SetupReport) -> Vec<String> {
    let mut notes = Vec::new();
    let mut named = |what: &str, names: &[String]| {
        if !names.is_empty() {
            let count = thousands(names.len() as u64);
            notes.push(format!("{what}, {count}: {}", some(names)));
        }
    };
    named("queries without a positive, left out of the means", &setup.without_positives);
    named(
        "queries whose every positive is missing in the database, left out of the means",
        &setup.all_missing,
    );
    named("queries without a ranking, which found nothing", &setup.unranked);
    named(
        "queries whose ranking ends before all positives, the rest counts as not found",
        &setup.short,
    );
    named(
        "labelled photos that are not in the database, and so are no queries",
        &setup.labels_missing,
    );
    named("queries without a descriptor, left out of the means", &setup.queries_missing);
    if setup.positives_missing > 0 {
        notes.push(format!(
            "positives that are not in the database and count as not found: {}",
            thousands(setup.positives_missing as u64)
        ));
    }
    if setup.tied_queries > 0 {
        let rule = match setup.ties {
            Ties::Against => "positives count as last among them",
            Ties::For => "positives count as first among them",
            Ties::Order => "the order of the database decides",
        };
        notes.push(format!(
            "positives have the score of other images in {} of the queries: {rule} (--ties)",
            thousands(setup.tied_queries as u64)
        ));
    }
    notes
}

/// One line for each query.
pub fn queries(setup: &SetupReport) -> String {
    let mut text = String::new();
    for query in &setup.queries {
        let first =
            query.first.map_or_else(|| "none found".to_owned(), |rank| format!("first {rank}"));
        text += &format!(
            "{:.4}  {} ({} of {}, {first})\n",
            query.value,
            cell(&query.name),
            thousands(query.found as u64),
            counted(query.positives as u64, "positive"),
        );
    }
    text
}
