//! The page as HTML. The crate escapes every value; control characters in names are written out.

use std::borrow::Cow;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use ocelli_text::{counted, printable, thousands};

use super::super::measures::Judgement;
use super::thumbnails::Thumbnails;
use super::{HITS, PageHead, PageHit, PageQuery};
use crate::html::{INLINE_ONLY, head as head_of_page};

/// Characters of a name or a reason that are shown.
const MAX_CHARS: usize = 256;

/// Positives below a row that are listed without a click.
const OPEN: usize = 12;

const STYLE: &str = include_str!("style.css");

/// The end of the page.
pub(super) const END: &str = "</main></body></html>\n";

/// The beginning of a page with `shown` queries.
pub(super) fn start(head: &PageHead, shown: usize) -> String {
    let title = format!("{} ({})", cell(&head.dataset), cell(&head.setup));
    let markup = html! {
        (DOCTYPE)
        (PreEscaped("<html lang=\"en\">"))
        (head_of_page(&format!("{title}: what the queries found"), INLINE_ONLY, STYLE))
        (PreEscaped("<body>"))
        header {
            h1 { (title) }
            p.measure { (cell(&head.measure)) " " strong { (format!("{:.4}", head.value)) }
                @if let Some([low, high]) = head.interval {
                    (format!(" (95 % interval {low:.4} to {high:.4})"))
                }
            }
            (facts(head, shown))
            p.legend {
                span.sample.positive { "✓ positive" } " "
                span.sample.negative { "✗ negative" } " "
                span.sample.junk { "○ junk, taken out" }
            }
        }
        (PreEscaped("<main>"))
    };
    markup.into_string()
}

/// What is known of the run.
fn facts(head: &PageHead, shown: usize) -> Markup {
    html! {
        dl {
            dt { "Protocol" }
            dd { (cell(&head.form)) ", because " (cell(&head.why)) }
            dt { "Search" }
            dd { (cell(&head.search)) }
            dt { "Database" }
            dd { (counted(head.images as u64, "image")) }
            dt { "Queries" }
            dd { (thousands(shown as u64)) " of " (thousands(head.queries as u64)) " are here" }
            @if !head.measures.is_empty() {
                dt { "Measures" }
                dd {
                    @for (at, (name, value)) in head.measures.iter().enumerate() {
                        @if at > 0 { ", " }
                        span.pair { (cell(name)) (format!(" {value:.4}")) }
                    }
                }
            }
            @if head.counts.iter().any(|(_, number)| *number > 0) {
                dt { "Counted apart" }
                dd {
                    ul { @for (what, number) in head.counts.iter().filter(|(_, n)| *n > 0) {
                        li { (cell(what)) ": " (thousands(*number as u64)) }
                    } }
                }
            }
        }
    }
}

/// The row of a query.
pub(super) fn query<'a>(
    head: &PageHead,
    query: &'a PageQuery,
    thumbnails: &Thumbnails<'a>,
) -> String {
    let photo = thumbnails.get(query.photo.as_deref(), query.bounding_box);
    let markup = html! {
        section {
            h2 { (cell(&query.name)) }
            p.value { (part_of(&head.measure)) (format!(" {:.4}", query.value)) }
            div.row {
                figure.query {
                    (picture(photo, &query.name))
                    figcaption { "query" }
                }
                @for found in query.hits.iter().take(HITS) { (hit(found, thumbnails)) }
            }
            @if query.hits.is_empty() { p { "Nothing was found." } }
            (missing(query))
        }
    };
    markup.into_string() + "\n"
}

fn hit<'a>(hit: &'a PageHit, thumbnails: &Thumbnails<'a>) -> Markup {
    let (class, sign) = match hit.judgement {
        Judgement::Positive => ("positive", "✓"),
        Judgement::Negative => ("negative", "✗"),
        Judgement::Ignored => ("junk", "○"),
    };
    html! {
        figure.hit.(class) title=(cell(&hit.key)) {
            (picture(thumbnails.get(hit.photo.as_deref(), None), &hit.key))
            figcaption {
                (sign) " "
                @if let Some(rank) = hit.rank { b { (thousands(rank as u64)) } " " }
                (format!("{:.4}", hit.score))
            }
        }
    }
}

/// A thumbnail, or a grey box with the reason why there is none.
fn picture(made: Result<&str, &str>, name: &str) -> Markup {
    html! {
        @match made {
            Ok(uri) => img src=(uri) alt=(cell(name)) loading="lazy";,
            Err(reason) => div.none role="img" aria-label=(cell(name)) {
                span.name { (cell(name)) }
                span { (cell(reason)) }
            }
        }
    }
}

/// The positives that the row does not show.
fn missing(query: &PageQuery) -> Markup {
    let lost = query.missing.iter().filter(|(_, rank)| rank.is_none()).count();
    let below = query.missing.len() - lost;
    let summary = format!(
        "{} not above: {} further down, {} not found",
        counted(query.missing.len() as u64, "positive"),
        thousands(below as u64),
        thousands(lost as u64)
    );
    html! {
        @if !query.missing.is_empty() {
            details.missing open[query.missing.len() <= OPEN] {
                summary { (summary) }
                ul { @for (name, rank) in &query.missing {
                    li { (cell(name)) " " span.rank {
                        @match rank {
                            Some(rank) => { "rank " (thousands(*rank as u64)) }
                            None => "not found",
                        }
                    } }
                } }
            }
        }
    }
}

/// The name of a query's part in a measure: that of a mean is the measure without its `m`.
fn part_of(measure: &str) -> Cow<'_, str> {
    match measure.strip_prefix(['m', 'µ']) {
        Some(part) if part.starts_with("AP") => cell(part),
        _ => cell(measure),
    }
}

/// A text from outside as a part of a line.
fn cell(text: &str) -> Cow<'_, str> {
    printable(text, MAX_CHARS)
}
