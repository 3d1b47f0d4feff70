//! The parts that all pages have.

use maud::{Markup, PreEscaped, html};

/// Policy of a page that loads the pictures and the style in it, and nothing else.
pub(crate) const INLINE_ONLY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// The head of a page, with the policy of what it may load and its style sheet.
pub(crate) fn head(title: &str, policy: &str, style: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta http-equiv="Content-Security-Policy" content=(policy);
            title { (title) }
            style { (PreEscaped(style)) }
        }
    }
}
