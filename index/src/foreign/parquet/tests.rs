use super::*;
use parquet::basic::Encoding;

struct NoPages;

impl Iterator for NoPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

impl PageReader for NoPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        Ok(None)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Ok(None)
    }

    fn skip_next_page(&mut self) -> Result<()> {
        Ok(())
    }
}

/// As many values as there is room for pass, one more does not.
#[test]
fn a_dictionary_holds_what_it_claims() {
    for (least, most) in [(4, 10), (2, 20), (8, 5)] {
        let page = |num_values| Page::DictionaryPage {
            buf: vec![0; 40].into(),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let pages = CheckedPages { pages: Box::new(NoPages), least };
        assert!(pages.checked(Some(page(most))).is_ok_and(|page| page.is_some()));
        let error = pages.checked(Some(page(most + 1))).err().map(|e| e.to_string());
        let expected = format!("a dictionary of {} values has 40 bytes", most + 1);
        assert!(error.is_some_and(|error| error.contains(&expected)));
    }
}

#[test]
fn lists_are_put_together_by_their_levels() {
    // [1, 2], null, [3], [], [null, 4], [5]
    let rep = [0, 1, 0, 0, 0, 0, 1, 0];
    let def = [3, 3, 0, 3, 1, 2, 3, 3];
    let values = vec![1.0, 2.0, 3.0, 4.0, 5.0];
    let lists = ParquetLists::new(values.clone(), &def, &rep, 3).unwrap();
    let rows: Vec<Option<&[f32]>> = lists.rows().collect();
    let expected: [Option<&[f32]>; 6] =
        [Some(&[1.0, 2.0]), None, Some(&[3.0]), None, None, Some(&[5.0])];
    assert_eq!(rows, expected);
    assert!(ParquetLists::new(values[..4].to_vec(), &def, &rep, 3).is_none());
    assert!(ParquetLists::new(values, &def, &[1, 0], 3).is_none());
}
