//! Tests that try one case in many tell here how many: all of them under `./test --long`, which
//! sets `OCELLI_LONG_TESTS`.

/// The step between cases that are tried: `short`, or 1 in a long run.
pub(crate) fn stride(short: usize) -> usize {
    if std::env::var_os("OCELLI_LONG_TESTS").is_some_and(|v| !v.is_empty()) { 1 } else { short }
}
