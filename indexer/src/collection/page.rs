//! Pages for people: what a query found, and the page of `ocelli up`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ocelli_text::{counted, printable, thousands};
use rayon::prelude::*;

use super::find::{FindReport, Query};
use super::thumbnail::thumbnail;
use crate::html::{INLINE_ONLY, head};

/// Characters of a name that are shown.
const MAX_CHARS: usize = 256;

const STYLE: &str = include_str!("style.css");

/// The script of the page of `ocelli up`, by which it sends images.
pub const SCRIPT: &str = include_str!("page.js");

/// A page of `ocelli up`.
#[derive(Clone, Debug)]
pub struct CollectionPage<'a> {
    /// Name of the collection.
    pub name: &'a str,
    /// Number of its photos.
    pub photos: u64,
    /// Bytes of its index.
    pub bytes: u64,
    /// Bytes of one code.
    pub code_bytes: usize,
    /// Where its pages are: `/c/0`.
    pub base: &'a str,
    /// All collections: where their pages are, and their names.
    pub all: &'a [(String, String)],
    /// Heading of what is shown.
    pub heading: &'a str,
    /// What is shown, as HTML.
    pub content: &'a str,
}

/// A page of a query and its hits, with thumbnails in it.
#[must_use]
pub fn find_page(report: &FindReport) -> String {
    let name = match &report.query {
        Query::Image(path) => path.display().to_string(),
        Query::Key(key) => key.clone(),
    };
    let paths: Vec<Option<&Path>> = [report.query_path.as_deref()]
        .into_iter()
        .chain(report.hits.iter().map(|hit| hit.path.as_deref()))
        .collect();
    let pictures: Vec<Result<String, String>> = paths.into_par_iter().map(uri).collect();
    let (own, others) = pictures.split_at(1);
    let title = format!("{}: photos like it", cell(&name));
    let body = html! {
        h1 { (title) }
        p.soft {
            (counted(report.photos, "photo")) " in " (cell(&report.index.display().to_string()))
            ", generation " (report.generation) ". "
            "Scores: " (report.scores.in_words()) "."
            @if let Some(note) = &report.note { " " (cell(note)) "." }
        }
        div.row {
            (figure("query", &own[0], &name, html! { "query" }))
            @for (hit, picture) in report.hits.iter().zip(others) {
                (figure("hit", picture, &hit.key, html! {
                    b { (hit.rank) } " " (format!("{:.4}", hit.score)) br;
                    span.key { (cell(&hit.key)) }
                }))
            }
        }
        @if report.hits.is_empty() { p { "Nothing was found." } }
    };
    page(&title, INLINE_ONLY, &body)
}

/// The page of a collection.
#[must_use]
pub fn home_page(shown: &CollectionPage<'_>) -> String {
    let policy = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; \
                  script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'";
    let body = html! {
        @if shown.all.len() > 1 {
            nav { @for (base, name) in shown.all { a href=(base) { (cell(name)) } " " } }
        }
        h1 { a href=(shown.base) { (cell(shown.name)) } }
        p.soft {
            (counted(shown.photos, "photo")) ", " (shown.code_bytes) " bytes each; the index has "
            (thousands(shown.bytes)) " bytes"
        }
        form #search data-base=(shown.base) {
            label { "An image to look for: " input #image type="file" accept="image/*"; }
            label { " or the key of a photo: " input #key type="text" autocomplete="off"; }
            " " button type="submit" { "Search" }
        }
        noscript { p { "The form needs JavaScript. `ocelli find` does not." } }
        div #result {
            h2 { (cell(shown.heading)) }
            (PreEscaped(shown.content))
        }
        script src="/page.js" {}
    };
    page(&cell(shown.name), policy, &body)
}

/// Hits, or other photos of a collection, as a part of its page: id, key and what stands below.
#[must_use]
pub fn hits_fragment(base: &str, photos: &[(u64, &str, String)]) -> String {
    let markup = html! {
        div.row {
            @for (id, key, below) in photos {
                figure.hit title=(cell(key)) {
                    a href=(format!("{base}/like/{id}")) {
                        img src=(format!("{base}/photo/{id}")) alt=(cell(key)) loading="lazy";
                    }
                    figcaption { (below) br; span.key { (cell(key)) } }
                }
            }
        }
        @if photos.is_empty() { p { "Nothing was found." } }
    };
    markup.into_string()
}

fn page(title: &str, policy: &str, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, policy, STYLE))
            body { (body) }
        }
    };
    markup.into_string() + "\n"
}

fn figure(class: &str, picture: &Result<String, String>, name: &str, below: Markup) -> Markup {
    html! {
        figure.(class) title=(cell(name)) {
            @match picture {
                Ok(uri) => img src=(uri) alt=(cell(name));,
                Err(reason) => div.none role="img" aria-label=(cell(name)) { (cell(reason)) }
            }
            figcaption { (below) }
        }
    }
}

/// The thumbnail of a photo as a `data:` URI.
fn uri(path: Option<&Path>) -> Result<String, String> {
    let file = thumbnail(path.ok_or("no file is known")?)?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(file)))
}

/// A text from outside as a part of a line.
fn cell(text: &str) -> std::borrow::Cow<'_, str> {
    printable(text, MAX_CHARS)
}
