use std::fs;

use tempfile::TempDir;

use super::*;

/// A file with a text, in a folder of its own.
fn file(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hall_1.txt");
    fs::write(&path, text).unwrap();
    (dir, path)
}

/// `query: image image`, with `=` before an image that is tied with the one before.
fn shown(file: &RankingFile) -> Vec<String> {
    let shown = |query: &QueryRanking| {
        let image = |found: RankedImage| {
            let tied = if found.tied { "=" } else { "" };
            format!(" {tied}{}", file.images()[found.image as usize])
        };
        format!("{}:{}", query.name, query.images().map(image).collect::<String>())
    };
    file.queries.iter().map(shown).collect()
}

fn read(text: impl AsRef<[u8]>) -> RankingFile {
    RankingFile::open(&file(text).1).unwrap()
}

#[test]
fn every_form_is_known_by_its_content() {
    let cases: &[(&str, RankingSource, &str, &[&str])] = &[
        (
            "query,rank,image\nq,2,b\np,1,b\nq,1,a\n",
            RankingSource::Long,
            "its first line is query,rank,image",
            &["q: a b", "p: b"],
        ),
        // Ranks from 0, columns in another order, one that is not known, and equal scores.
        (
            "Image,note,Rank,Query,Score\nb,,1,q,.5\na,\"x, y\",0,q,.5\nc,,2,q,1e-3\n",
            RankingSource::Long,
            "its first line is Image,note,Rank,Query,Score",
            &["q: a =b c"],
        ),
        // Without ranks the highest score is first, and equal ones stay in the file's order.
        (
            "query,image,score\nq,a,-1\nq,b,0\nq,c,-0\nq,d,inf\n",
            RankingSource::Long,
            "its first line is query,image,score",
            &["q: d b =c a"],
        ),
        (
            "query_id,reference_id,score\nQ1,R1,0.5\nQ0,R1,2\nQ1,R2,0.75\n",
            RankingSource::Disc21,
            "its first line is query_id,reference_id,score",
            &["Q1: R2 R1", "Q0: R1"],
        ),
        (
            "Q1,R1,0.5\nQ1,R2,0.75",
            RankingSource::Disc21,
            "its lines are two names and a number",
            &["Q1: R2 R1"],
        ),
        // As spreadsheets write it in other countries.
        (
            "query;rank;image\nq;2;b,c\nq;1;a\n",
            RankingSource::Long,
            "its first line is query;rank;image",
            &["q: a b,c"],
        ),
        (
            "query\timage\tscore\nq\ta\t1\nq\tb c\t2\n",
            RankingSource::Long,
            "its first line is query\\timage\\tscore",
            &["q: b c a"],
        ),
        (
            "Q1\tR1\t0.5\nQ1\tR2\t0.75\n",
            RankingSource::Disc21,
            "its lines are two names and a number",
            &["Q1: R2 R1"],
        ),
        ("id;images\nq;b a\n", RankingSource::Gldv2, "its first line is id;images", &["q: b a"]),
        (
            "q\t0\t1\nr\t0\t2\n",
            RankingSource::Holidays,
            "its lines are a query, then ranks and names",
            &["q: 1", "r: 2"],
        ),
        (
            "\u{feff}id,images\r\n\r\nq,b a  c\r\np,\r\n",
            RankingSource::Gldv2,
            "its first line is id,images",
            &["q: b a c", "p:"],
        ),
        (
            "100000.jpg\n\n100100.jpg 1 b.jpg 0\ta.jpg\r\n",
            RankingSource::Holidays,
            "its lines are a query, then ranks and names",
            &["100000.jpg:", "100100.jpg: a.jpg b.jpg"],
        ),
        (
            "\u{feff}b.jpg\r\n\na\n",
            RankingSource::Lists,
            "its lines are names, one each, of one query",
            &["hall_1: b.jpg a"],
        ),
    ];
    for (text, form, why, expected) in cases {
        let found = read(text);
        assert_eq!((found.form, found.why.as_str()), (*form, *why), "{text:?}");
        assert_eq!(shown(&found), *expected, "{text:?}");
    }
}

/// Names that need quotation marks, one over two lines; lines are those where records begin.
#[test]
fn lines_are_those_of_the_file() {
    for end in ["\n", "\r\n"] {
        let lines = ["query,rank,image,score", "", "q,1,\"a,\n\"\"b\",2", "", "q,2,c,1"];
        let (_dir, path) = file(lines.join(end));
        let found = RankingFile::open(&path).unwrap();
        let query = &found.queries[0];
        let images: Vec<_> = query.images().map(|image| (image.image, image.line)).collect();
        // The name's own line break is a line, too.
        assert_eq!((query.line, images), (3, vec![(0, 3), (1, 6)]), "{end:?}");
        assert_eq!(&*found.images()[0], "a,\n\"b");
        assert_eq!(found.place(query, 6), format!("{}: line 6", path.display()));
        let scores: Vec<_> = query.images().map(|image| image.score).collect();
        assert_eq!(scores, [Some(2.0), Some(1.0)]);
    }
}

#[test]
fn directories_hold_a_list_for_each_query() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("hall_2.txt"), "all souls 1\nb\n").unwrap();
    fs::write(dir.path().join("hall_1.txt"), "").unwrap();
    fs::write(dir.path().join("README.md"), "no list").unwrap();
    let found = RankingFile::open(dir.path()).unwrap();
    assert_eq!(shown(&found), ["hall_1:", "hall_2: all souls 1 b"]);
    assert_eq!(found.why, "it is a directory with 2 files *.txt");
    let list = dir.path().join("hall_2.txt");
    assert_eq!(found.place(&found.queries[1], 2), format!("{}: line 2", list.display()));
    let scores = found.queries[1].images().filter(|image| image.tied || image.score.is_some());
    assert_eq!(scores.count(), 0);

    fs::write(&list, "b\n\na\nb\n").unwrap();
    let error = RankingFile::open(dir.path()).unwrap_err().to_string();
    let twice = "line 4: query \"hall_2\": image \"b\" is named twice, first in line 1";
    assert_eq!(error, format!("{}: {twice}", list.display()));
    let empty = tempfile::tempdir().unwrap();
    let error = RankingFile::open(empty.path()).unwrap_err().to_string();
    assert!(error.ends_with("for each query, found no file *.txt"), "{error}");
}

#[test]
fn every_fault_is_told_with_its_line() {
    let long = "query,rank,image,score\nq,1,a,2\n";
    let cases: &[(&[u8], &str)] = &[
        (b"", "expected rankings, found an empty file"),
        (b" \n\n", "expected rankings, found an empty file"),
        (b"id,images\n", "expected rankings, found none"),
        (b"query,rank,image,score\n", "expected rankings, found none"),
        (
            b"query_id,reference_id\nQ,R\n",
            "found_form: its first line is \"query_id,reference_id\"",
        ),
        (b"query,image\nq,a\n", "found_form: its first line names neither rank nor score"),
        (b"two words\n", "found_form: its first line is \"two words\""),
        (b"\x89PNG\0", "found_form: it is no text"),
        (b"query,rank,rank,image\nq,1,2,a\n", "line 1: column rank is there twice"),
        (&[long.as_bytes(), b"q,2,b\n"].concat(), "line 3: expected 4 columns, found 3"),
        (&[long.as_bytes(), b"q,two,b,1\n"].concat(), "line 3: expected a rank, found \"two\""),
        (&[long.as_bytes(), b"q,-2,b,1\n"].concat(), "line 3: expected a rank, found \"-2\""),
        (&[long.as_bytes(), b"q,2,b,\n"].concat(), "line 3: expected a score, found \"\""),
        (&[long.as_bytes(), b"q,2,b,NaN\n"].concat(), "line 3: the score of image \"b\" is NaN"),
        (
            &[long.as_bytes(), b"\r\n\nq,3,b,1\n"].concat(),
            "line 5: query \"q\": expected rank 2, found 3",
        ),
        (&[long.as_bytes(), b"q,1,b,1\n"].concat(), "line 3: query \"q\": rank 1 is there twice"),
        (
            &[long.as_bytes(), b"p,0,b,1\n"].concat(),
            // Ranks begin at 0 in this file.
            "line 2: query \"q\": expected rank 0, found 1",
        ),
        (
            &[long.as_bytes(), b"p,2,b,1\n"].concat(),
            "line 3: query \"p\": expected rank 1, found 2",
        ),
        (
            &[long.as_bytes(), b"p,1,a,1\nq,2,a,1\n"].concat(),
            "line 4: query \"q\": image \"a\" is named twice, first in line 2",
        ),
        (&[long.as_bytes(), b",1,a,1\n"].concat(), "line 3: the query's name is empty"),
        (&[long.as_bytes(), b"q,2,,1\n"].concat(), "line 3: the image's name is empty"),
        (&[long.as_bytes(), b"q,2,\xff,1\n"].concat(), "line 3: expected UTF-8, found other bytes"),
        (b"Q,R,1\nQ,R2,nan\n", "line 2: the score of image \"R2\" is NaN"),
        (b"Q,R,1\nQ,R2,x\n", "line 2: expected a score, found \"x\""),
        (b"Q,R,1\nQ,R,2\n", "line 2: query \"Q\": image \"R\" is named twice, first in line 1"),
        (b"Q,R,1\nQ,R\n", "line 2: expected 3 columns, found 2"),
        (b"id,images\nq,a a\n", "line 2: query \"q\": image \"a\" is named twice"),
        (b"id,images\nq,a\np,b\nq,c\n", "line 4: query \"q\" was named before, in line 2"),
        (
            b"id,images\nq,\"a b\np,c\n",
            "line 2: a quoted cell ends in a line's end; is a quotation mark missing?",
        ),
        (
            b"query,rank,image\nq,1,\"a\nq,2,b",
            "line 2: a quoted cell ends in a line's end; is a quotation mark missing?",
        ),
        (b"query;image\nq;a\n", "found_form: its first line names neither rank nor score"),
        (b"id,images\nq,a,b\n", "line 2: expected 2 columns, found 3"),
        (b"q 0 a 1\n", "line 1: expected an image behind rank 1, found the line's end"),
        (b"q 0 a\np a 0\n", "line 2: expected a rank, found \"a\""),
        (b"q 0 a 2 b\n", "line 1: query \"q\": expected rank 1, found 2"),
        (b"q 0 a 0 b\n", "line 1: query \"q\": rank 0 is there twice"),
        // The published program counts from 0.
        (b"q 1 a 2 b\n", "line 1: query \"q\": expected rank 0, found 1"),
        (b"q 0 a\n\nq 0 b\n", "line 3: query \"q\" was named before, in line 1"),
        (b"q 0 a\np 0 \xff\n", "line 2: expected UTF-8, found other bytes"),
        (b"a\nb\na\n", "line 3: query \"hall_1\": image \"a\" is named twice, first in line 1"),
        (b"PAR1 and no more", "Parquet"),
    ];
    for (text, expected) in cases {
        let (_dir, path) = file(text);
        let error = RankingFile::open(&path).unwrap_err().to_string();
        let text = String::from_utf8_lossy(text);
        let found = error.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&error);
        match expected.strip_prefix("found_form: ") {
            Some(end) => {
                assert!(found.starts_with("expected rankings, as CSV"), "{text:?}: {error}");
                assert!(found.ends_with(end), "{text:?}: {error}");
            }
            None if *expected == "Parquet" => assert!(found.contains("Parquet"), "{error}"),
            None => assert_eq!(found, *expected, "{text:?}"),
        }
    }
    let long = format!("query,rank,image\nq,1,{}\n", "a".repeat(5000));
    let error = RankingFile::open(&file(long).1).unwrap_err().to_string();
    assert!(
        error.contains("line 2: expected names of at most 4,096 bytes, found \"aaa"),
        "{error}"
    );
    assert!(error.ends_with("(5,000 bytes)") && error.len() < 1000, "{error}");
    let nowhere = RankingFile::open(Path::new("/nowhere/a.csv")).unwrap_err().to_string();
    assert!(nowhere.starts_with("/nowhere/a.csv: cannot read: No such file"), "{nowhere}");
}
