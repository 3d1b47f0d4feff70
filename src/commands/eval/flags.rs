//! Flags of `ocelli eval retrieval` that would be without effect.

use clap::error::ErrorKind;

use super::args::RetrievalArgs;

/// Ends the process with exit code 2 if a flag is given that the rest of the command line leaves
/// without effect. The parser cannot tell: it does not ask for what a flag requires where that
/// conflicts with something else that is given.
pub fn check(args: &RetrievalArgs) {
    if let Some(what) = without_effect(args) {
        clap::Error::raw(ErrorKind::ArgumentConflict, format!("{what}\n")).exit();
    }
}

/// The first flag without effect, and why.
fn without_effect(args: &RetrievalArgs) -> Option<String> {
    let (search, prepare, rerank) = (&args.search, &args.prepare, &args.rerank);
    let results = &args.results;
    let from_photos = [
        ("--distractors", !prepare.distractors.is_empty()),
        ("--learn-from", !prepare.learn_from.is_empty()),
        ("--dim", prepare.dim.is_some()),
        ("--code-bytes", prepare.code_bytes.is_some()),
        ("--force", prepare.force),
        ("flags of `ocelli encode` after --", !args.encode.is_empty()),
    ];
    let of_vectors = [
        ("--row-names", search.row_names.is_some()),
        ("--rows", search.rows.is_some()),
        ("--variable", search.variable.is_some()),
    ];
    let of_index = [
        ("--nprobe", search.nprobe.is_some()),
        ("--refine-candidates", search.refine_candidates.is_some()),
    ];
    let of_search = [
        ("--expand", rerank.expand.is_some()),
        ("--diffuse", rerank.diffuse),
        ("--dba", search.dba > 0),
        ("--similarity", search.similarity.is_some()),
    ];
    let files = [
        ("--out", results.out.is_some()),
        ("--per-query-out", results.per_query_out.is_some()),
        ("--rankings-out", results.rankings_out.is_some()),
        ("--page", results.page.is_some()),
        ("--expect", !results.expect.is_empty()),
        ("--setup", !args.dataset.setups.is_empty()),
    ];
    let given = |flags: &[(&str, bool)]| {
        flags.iter().find(|(_, given)| *given).map(|(flag, _)| (*flag).to_owned())
    };
    if !results.compare.is_empty() {
        let all = [&from_photos[..], &of_vectors, &of_index, &of_search, &files].concat();
        return given(&all).map(|flag| format!("{flag} is without effect with --compare"));
    }
    if prepare.work.is_none()
        && let Some(flag) = given(&from_photos)
    {
        return Some(format!("{flag} is without effect without --work"));
    }
    if search.descriptors.is_empty()
        && let Some(flag) = given(&of_vectors)
    {
        return Some(format!("{flag} is without effect without --descriptors"));
    }
    if search.rankings.is_some() {
        return given(&[&of_index[..], &of_search].concat())
            .map(|flag| format!("{flag} is without effect with --rankings"));
    }
    if search.index.is_none() && prepare.code_bytes.is_none() {
        return given(&of_index)
            .map(|flag| format!("{flag} is without effect without --index or --code-bytes"));
    }
    if search.index.is_some() && search.dba > 0 {
        return Some(
            "--dba is without effect on an index; ocelli build --dba makes one".to_owned(),
        );
    }
    let coded = search.index.is_some() || prepare.code_bytes.is_some();
    (coded && search.similarity.is_some())
        .then(|| "--similarity is without effect on an index, which has a metric".to_owned())
}
