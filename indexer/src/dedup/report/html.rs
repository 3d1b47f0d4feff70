//! The page as HTML, without its data.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ocelli_index::Hash;
use ocelli_text::{MAX_CHARS, counted, printable, thousands};

use super::ReportHead;
use super::histogram::Histogram;
use crate::dedup::clusters::Clusters;
use crate::dedup::output::FileCounts;
use crate::html::head as head_of_page;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The page down to its list.
pub(super) fn start(
    head: &ReportHead<'_>,
    clusters: &Clusters,
    chosen: &[u32],
    histogram: &Histogram,
) -> String {
    let title = format!("Duplicates in {}", printable(head.name, MAX_CHARS));
    let script = STANDARD.encode(Hash::of(SCRIPT.as_bytes()).bytes());
    let policy = format!(
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; \
         script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    );
    let hidden = u64::from(clusters.len()) - chosen.len() as u64;
    let markup = html! {
        (DOCTYPE)
        (PreEscaped("<html lang=\"en\">"))
        (head_of_page(&title, &policy, STYLE))
        (PreEscaped("<body>"))
        header {
            h1 { (title) }
            (facts(head, clusters))
            (histogram.draw(head.threshold))
            @if hidden > 0 {
                p.soft {
                    (counted(hidden, "cluster")) " of " (thousands(clusters.len().into()))
                    " are not on this page, which has the largest, those of the weakest links, and "
                    "those that free most. clusters.parquet has all."
                }
            }
            noscript { p { "This page needs JavaScript. The tables beside it do not." } }
        }
        (tools(histogram))
        main #list {}
        (comparison())
    };
    markup.into_string()
}

/// The end of the page, with its script.
pub(super) fn end() -> String {
    let markup = html! {
        script { (PreEscaped(SCRIPT)) }
        (PreEscaped("</body></html>\n"))
    };
    markup.into_string()
}

/// The numbers of a run.
fn facts(head: &ReportHead<'_>, clusters: &Clusters) -> Markup {
    let counts = clusters.counts();
    let megabytes = head.files.freed_bytes as f64 / 1e6;
    let numbers = [
        ("rows", thousands(head.rows)),
        ("clusters", thousands(counts.clusters)),
        ("rows in clusters", thousands(counts.clustered)),
        ("largest cluster", counted(counts.largest_cluster, "row")),
        ("duplicates", thousands(counts.duplicates)),
        ("files that may go", thousands(head.files.listed)),
        ("would be freed", format!("{megabytes:.1} MB")),
    ];
    let left = left(&head.files);
    html! {
        dl.facts { @for (what, number) in numbers { div { dt { (what) } dd { (number) } } } }
        @if !left.is_empty() { p.soft { "Not listed to go: " (left.join(", ")) "." } }
    }
}

/// Why files of duplicates are not listed.
fn left(files: &FileCounts) -> Vec<String> {
    let reasons = [
        (files.missing, "missing"),
        (files.changed, "changed since they were encoded"),
        (files.kept_unfit, "of which the file that stays is missing or changed"),
        (files.unnamed, "without a known file"),
        (files.no_hash, "without a known hash"),
        (files.symlinks, "that are symlinks"),
        (files.another_name, "that are another name of a file that stays"),
        (files.parts, "that are a part of their photo"),
    ];
    let told = |(number, what): (u64, &str)| format!("{} {what}", thousands(number));
    reasons.into_iter().filter(|reason| reason.0 > 0).map(told).collect()
}

fn tools(histogram: &Histogram) -> Markup {
    let views =
        [("clusters", "Clusters"), ("near", "Pairs near the threshold"), ("sample", "To judge")];
    let sorts = [
        ("weakest", "weakest similarity"),
        ("edge", "weakest link"),
        ("size", "size"),
        ("duplicates", "duplicates"),
        ("freed", "bytes freed"),
    ];
    let labels = [
        ("", "any"),
        ("same_file", "same file"),
        ("same_pixels", "same pixels"),
        ("copy", "copy"),
        ("near", "near"),
    ];
    let (least, most) = histogram.limits();
    let [least, most] = [least, most].map(|score| format!("{score:.4}"));
    html! {
        div #tools {
            span role="tablist" { @for (view, name) in views {
                button type="button" role="tab" data-view=(view) { (name) } " "
            } }
            label { "by " select #sort { @for (sort, name) in sorts {
                option value=(sort) { (name) }
            } } }
            label { "scores "
                input #low type="number" step="any" value=(least); " to "
                input #high type="number" step="any" value=(most);
            }
            label { "label " select #label { @for (label, name) in labels {
                option value=(label) { (name) }
            } } }
            button #all type="button" { "show all" }
            span {
                button #back type="button" aria-label="page before" { "◀" }
                " page " input #page type="number" min="1" value="1"; " " span #pages {} " "
                button #next type="button" aria-label="next page" { "▶" }
            }
            span { button #save type="button" { "save labels" } " " span.soft #marks {} }
            span.soft #note {}
            span.soft {
                kbd { "r" } " right, " kbd { "w" } " wrong, " kbd { "u" } " neither; with "
                kbd { "Shift" } " for a whole cluster; arrows, " kbd { "j" } " " kbd { "k" }
                " move, " kbd { "n" } " " kbd { "p" } " pages, " kbd { "Enter" } " compares, "
                kbd { "s" } " saves"
            }
        }
    }
}

fn comparison() -> Markup {
    html! {
        dialog #compare {
            div #compared {}
            p {
                button type="button" data-judge="right" { "right (r)" } " "
                button type="button" data-judge="wrong" { "wrong (w)" } " "
                button type="button" data-judge="" { "neither (u)" } " "
                button #close type="button" { "close (Esc)" }
            }
        }
    }
}
