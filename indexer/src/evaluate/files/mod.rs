//! Files of judging: rankings and results, for other tools and from them.

mod per_query;
mod rankings_in;
mod rankings_out;
#[cfg(test)]
mod tests;

pub use per_query::{check_per_query_name, write_per_query};
pub use rankings_in::{QueryRanking, RankedImage, RankingFile, RankingSource};
pub use rankings_out::{RankedRow, RankingForm, RankingWriter, RankingsWritten};
