//! What a unit of work takes: measured by `./bench rates` on two cores of a Zen 5 (AVX-512 VBMI),
//! with nothing else on the machine. `docs/scale.md` says how far off they are at other sizes.
//! Those of reading, rotating, keys and the disk are estimates: no run measures them by themselves.
//!
//! Times are those of one core, in nanoseconds.

/// One coordinate of a row and of a centroid, where rows that are encoded meet all centroids.
pub(super) const MEET_NS: f64 = 0.0045;
/// One coordinate of a row and of a centroid, where rows meet the centroids of near groups.
pub(super) const MEET_NEAR_NS: f64 = 0.006;
/// A group whose centroids a row meets.
pub(super) const GROUP_NS: f64 = 58.0;
/// One coordinate of a row and of a codeword.
pub(super) const QUANTIZE_NS: f64 = 0.0158;
/// A codeword that a row meets.
pub(super) const WORD_NS: f64 = 0.0846;
/// One product of a rotation.
pub(super) const ROTATE_NS: f64 = 0.08;
/// One coordinate of a row that is read.
pub(super) const READ_NS: f64 = 0.5;
/// A row on its way from its code to a shard.
pub(super) const ROW_NS: f64 = 286.0;
/// A key on its way from a part to a shard.
pub(super) const KEY_NS: f64 = 500.0;
/// A task, whatever it has to do.
pub(super) const PROCESS_NS: f64 = 0.108e9;
/// Bytes that the disk takes in a second.
pub(super) const DISK_BYTES_PER_S: f64 = 400e6;

/// One coordinate of a row and of a centroid in the first iteration of k-means; and of two
/// centroids.
pub(super) const FIRST_NS: f64 = 0.00496;
/// One coordinate of a row and of a centroid that is near its own, with what moves the centroid.
pub(super) const NEAR_NS: f64 = 0.012;
/// A centroid whose neighbours are chosen, once their distances are known.
pub(super) const CHOICE_NS: f64 = 46_400.0;
/// One coordinate of a residual and of a codeword, in an iteration of the codebooks' k-means.
pub(super) const BOOK_NS: f64 = 0.0426;

/// One coordinate of a query and of a centroid, where queries meet all centroids.
pub(super) const PROBE_NS: f64 = 0.01215;
/// A list that is chosen there.
pub(super) const PICK_NS: f64 = 41.1;
/// One coordinate of a query and of a centroid, where queries meet the centroids of near groups.
pub(super) const PROBE_NEAR_NS: f64 = 0.0253;
/// A list that is chosen there.
pub(super) const PICK_NEAR_NS: f64 = 206.0;
/// One coordinate of a query and of a codeword.
pub(super) const LUT_NS: f64 = 0.0468;
/// A shard that a query looks at: its first threshold and its hits.
pub(super) const SHARD_NS: f64 = 7240.0;
/// A list of a shard that is scanned, besides its codes.
pub(super) const LIST_NS: f64 = 97.4;
/// One byte of a code that is scanned.
pub(super) const SCAN_NS: f64 = 0.0609;
/// One byte more of an index that is too large for the processor's table of pages.
pub(super) const FAR_NS: f64 = 0.0175;
