//! The names of stages and metrics, as clients, metrics and logs write them.

use crate::v1::{Metric, Stage};

impl Stage {
    /// Every stage of a query, in their order.
    pub fn all() -> impl Iterator<Item = Stage> {
        (1..).map_while(|number| Stage::try_from(number).ok())
    }

    /// The stage of this name, `scan` for example.
    pub fn named(name: &str) -> Option<Stage> {
        Stage::from_str_name(&format!("STAGE_{}", name.to_ascii_uppercase()))
    }

    /// The name of this stage, `scan` for example.
    pub fn name(self) -> String {
        lower(self.as_str_name(), "STAGE_")
    }
}

impl Metric {
    /// The name of this metric, `inner_product` for example.
    pub fn name(self) -> String {
        lower(self.as_str_name(), "METRIC_")
    }
}

/// The name of a value without its enum's prefix, in lower case.
fn lower(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_names_and_names_have_stages() {
        let names = Vec::from_iter(Stage::all().map(Stage::name));
        assert_eq!(names.first().map(String::as_str), Some("encode"));
        assert!(names.iter().all(|name| Stage::named(name).is_some_and(|s| s.name() == *name)));
        assert_eq!(Metric::InnerProduct.name(), "inner_product");
        assert_eq!(Stage::named("nap"), None);
    }
}
