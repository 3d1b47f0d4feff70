//! Columns of Parquet files, for every room that reads some: the crate's readers, with less trust in what pages claim.

use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::column::reader::{ColumnReader, get_column_reader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::RowGroupReader;

/// Bytes that a value of a dictionary takes at least: a number of four bytes, or the length of a text.
const VALUE_BYTES: usize = 4;

/// The values of a leaf column of numbers of four bytes or more, or of texts.
///
/// # Errors
/// The crate's, and then, from the reader, a dictionary that is shorter than it says.
pub fn parquet_column(group: &dyn RowGroupReader, leaf: usize) -> Result<ColumnReader> {
    let pages = CheckedPages(group.get_column_page_reader(leaf)?);
    Ok(get_column_reader(group.metadata().column(leaf).column_descr_ptr(), Box::new(pages)))
}

/// Pages whose dictionaries are as long as they say: the crate makes room for the number that a dictionary claims, which
/// in a damaged file of a few kilobytes may be gigabytes.
struct CheckedPages(Box<dyn PageReader>);

/// `page`, unless it claims more values than its bytes can hold.
fn checked(page: Option<Page>) -> Result<Option<Page>> {
    if let Some(Page::DictionaryPage { buf, num_values, .. }) = &page
        && *num_values as usize > buf.len() / VALUE_BYTES
    {
        let bytes = buf.len();
        return Err(ParquetError::General(format!(
            "a dictionary of {num_values} values has {bytes} bytes"
        )));
    }
    Ok(page)
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        checked(self.0.get_next_page()?)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.0.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        checked(self.0.take_deferred_dictionary()?)
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.0.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::basic::Encoding;

    /// As many values as there is room for pass, one more does not.
    #[test]
    fn a_dictionary_holds_what_it_claims() {
        let page = |num_values| Page::DictionaryPage {
            buf: vec![0; 40].into(),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        assert!(checked(Some(page(10))).is_ok_and(|page| page.is_some()));
        let error = checked(Some(page(11))).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("a dictionary of 11 values has 40 bytes"), "{error}");
    }
}
