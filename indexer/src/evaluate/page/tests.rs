use std::fs;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageEncoder, Rgb, RgbImage};
use ocelli_pictures::decode;

use super::super::answers::Answer;
use super::super::dataset::{Absent, At, Named, OwnPhoto, Place, Query, Setup};
use super::super::judge::Judged;
use super::super::measures::Judgement::{Ignored, Negative, Positive};
use super::super::measures::{ApForm, Judgement, Measure, Rules};
use super::super::ranking::with_ties;
use super::super::report::QueryScore;
use super::*;

const GREY: Rgb<u8> = Rgb([120, 120, 120]);

/// Bytes of EXIF (TIFF, little-endian) with one entry: tag 0x112, a 16-bit number, `orientation`.
fn exif(orientation: u8) -> Vec<u8> {
    let entry = [0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    [b"II*\0\x08\0\0\0\x01\0".as_slice(), &entry, &[0; 4]].concat()
}

/// A grey JPEG of `width` x `height` stored pixels.
fn photo(path: &Path, width: u32, height: u32, orientation: u8) -> PathBuf {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = JpegEncoder::new_with_quality(&mut file, 95);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.encode_image(&RgbImage::from_pixel(width, height, GREY)).unwrap();
    fs::write(path, file.into_inner()).unwrap();
    path.to_owned()
}

fn head() -> PageHead {
    PageHead {
        dataset: "paris & <script>alert(1)</script>".to_owned(),
        form: "oxford".to_owned(),
        why: "gt has 55 files *_query.txt".to_owned(),
        setup: "official".to_owned(),
        search: "exact inner product of 1,224 descriptors".to_owned(),
        measure: "mAP@100".to_owned(),
        value: 0.84091,
        interval: Some([0.8, 0.9]),
        measures: vec![("recall@1".to_owned(), 0.5)],
        images: 1224,
        queries: 55,
        counts: vec![("queries without a positive".to_owned(), 3), ("none of these".to_owned(), 0)],
    }
}

fn query(name: &str, value: f64) -> PageQuery {
    PageQuery {
        name: name.to_owned(),
        photo: None,
        bounding_box: None,
        value,
        hits: Vec::new(),
        missing: Vec::new(),
    }
}

fn hit(photo: Option<&Path>, judgement: Judgement, rank: Option<usize>) -> PageHit {
    let key = format!("k{}\"><img src=x>", rank.unwrap_or(0));
    PageHit { key, photo: photo.map(Path::to_owned), score: 0.123_46, judgement, rank }
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// The decoded thumbnails of a page, in its order.
fn thumbnails(page: &str) -> Vec<RgbImage> {
    let uris = page.split("src=\"data:image/jpeg;base64,").skip(1);
    let bytes = uris.map(|rest| STANDARD.decode(rest.split_once('"').unwrap().0).unwrap());
    bytes.map(|bytes| decode(&bytes, 1 << 20).unwrap().pixels).collect()
}

/// Everything that a browser would load from elsewhere, or run.
fn assert_self_contained(page: &str) {
    for bad in ["<script", "http:", "https:", "//", "href", "url(", "@import", "<link", "<iframe"] {
        let markup = page.split("base64,").map(|rest| rest.split_once('"').map_or(rest, |r| r.1));
        assert!(!markup.into_iter().any(|text| text.contains(bad)), "{bad}");
    }
    assert_eq!(count(page, " src=\""), count(page, " src=\"data:"), "only data is shown");
    for tag in ["html", "head", "body", "main", "section", "figure", "ul", "details", "dl", "style"]
    {
        let open = count(page, &format!("<{tag}>")) + count(page, &format!("<{tag} "));
        assert_eq!(open, count(page, &format!("</{tag}>")), "{tag}");
    }
}

#[test]
fn a_page_shows_what_two_queries_found() {
    let dir = tempfile::tempdir().unwrap();
    let good = photo(&dir.path().join("good.jpg"), 400, 300, 1);
    let broken = dir.path().join("broken.jpg");
    fs::write(&broken, "no photo").unwrap();
    let mut first = query("hall_1\u{202e}\n<script>", 0.25);
    first.photo = Some(good.clone());
    first.hits = vec![
        hit(Some(&good), Positive, Some(1)),
        hit(Some(&broken), Ignored, None),
        hit(Some(&dir.path().join("gone.jpg")), Negative, Some(2)),
        hit(None, Positive, Some(1_234)),
    ];
    first.missing = vec![("late.jpg".to_owned(), Some(5_678)), ("<b>lost".to_owned(), None)];
    let mut second = query("hall_2", 1.0);
    // Only the first 20 are shown.
    second.hits = (1..=25).map(|rank| hit(Some(&good), Negative, Some(rank))).collect();

    let path = dir.path().join("page.html");
    let report = write_page(&path, &head(), &[first, second, query("hall_3", 0.0)]).unwrap();
    let page = fs::read_to_string(&path).unwrap();
    assert_eq!((report.queries, report.photos, report.unreadable), (3, 3, 2));
    assert_eq!(report.bytes, page.len() as u64);

    assert_self_contained(&page);
    assert_eq!(count(&page, "<section>"), 3);
    assert_eq!(count(&page, "<figure class=\"query\">"), 3);
    assert_eq!(count(&page, "<figure class=\"hit positive\""), 2);
    assert_eq!(count(&page, "<figure class=\"hit negative\""), 1 + HITS);
    assert_eq!(count(&page, "<figure class=\"hit junk\""), 1);
    assert_eq!(thumbnails(&page).len(), 2 + HITS);
    assert!(thumbnails(&page).iter().all(|photo| photo.dimensions() == (160, 120)));
    // No photo here: the second and third query, and the fourth image of the first.
    assert_eq!(count(&page, "no photo here"), 3);
    for text in [
        "<h1>paris &amp; &lt;script&gt;alert(1)&lt;/script&gt; (official)</h1>",
        "<strong>0.8409</strong> (95 % interval 0.8000 to 0.9000)",
        "oxford, because gt has 55 files *_query.txt",
        "exact inner product of 1,224 descriptors",
        "recall@1 0.5000",
        "<li>queries without a positive: 3</li>",
        "3 of 55 are here",
        // What turns the direction of writing, ends a line or begins a tag is written out.
        "<h2>hall_1\\u{202e}\\n&lt;script&gt;</h2>",
        "AP@100 0.2500",
        "title=\"k1&quot;&gt;&lt;img src=x&gt;\"",
        "alt=\"k1&quot;&gt;&lt;img src=x&gt;\"",
        "✓ <b>1,234</b> 0.1235",
        "<figcaption>○ 0.1235</figcaption>",
        "not an image: it starts with the bytes 6e 6f 20 70",
        "cannot read: No such file or directory",
        "2 positives not above: 1 further down, 1 not found",
        "<li>late.jpg <span class=\"rank\">rank 5,678</span></li>",
        "<li>&lt;b&gt;lost <span class=\"rank\">not found</span></li>",
        "Nothing was found.",
    ] {
        assert!(page.contains(text), "{text}: {}", page.split("base64").next().unwrap());
    }
    assert!(!page.contains("none of these"), "zeros are not shown");
    assert!(!page.contains('\u{202e}'));
}

/// The box is drawn in stored pixels, and then the photo is turned: 400 x 200 stored, to be turned
/// by 90° clockwise (orientation 6), is shown as 80 x 160. The box [0, 0, 100, 50] is the upper
/// left corner as stored, 40 x 20 small, which the turn brings to the upper right: there x is 80 -
/// 20 = 60 and more, y below 40.
#[test]
fn boxes_are_drawn_before_the_photo_is_turned() {
    let dir = tempfile::tempdir().unwrap();
    let stored = photo(&dir.path().join("turned.jpg"), 400, 200, 6);
    let mut query = query("q", 0.5);
    query.photo = Some(stored.clone());
    query.bounding_box = Some([0.0, 0.0, 100.0, 50.0]);
    query.hits = vec![hit(Some(&stored), Positive, Some(1))];
    let mut outside = query.clone();
    outside.bounding_box = Some([500.0, 0.0, 600.0, f64::NAN]);
    let path = dir.path().join("page.html");
    let report = write_page(&path, &head(), &[query, outside]).unwrap();
    assert_eq!((report.photos, report.unreadable), (1, 0));
    let photos = thumbnails(&fs::read_to_string(&path).unwrap());
    assert_eq!(photos.len(), 4);
    let [with_box, plain, outside, _] = photos.as_slice() else { panic!("4 photos") };
    assert_eq!(with_box.dimensions(), (80, 160));
    let is_grey = |x, y, photo: &RgbImage| {
        photo.get_pixel(x, y).0.iter().all(|channel| channel.abs_diff(120) < 8)
    };
    let is_yellow = |x, y| {
        let [r, g, b] = with_box.get_pixel(x, y).0;
        r > 150 && g > 120 && b < 100
    };
    // The frame, left of the box and below it.
    assert!(is_yellow(59, 20) || is_yellow(60, 20), "{:?}", with_box.get_pixel(60, 20));
    assert!(is_yellow(70, 39) || is_yellow(70, 40), "{:?}", with_box.get_pixel(70, 39));
    // At the photo's edge, where the frame has no room outside of the box.
    assert!(is_yellow(70, 0) && is_yellow(79, 20), "{:?}", with_box.get_pixel(70, 0));
    assert!(is_grey(70, 20, with_box), "inside {:?}", with_box.get_pixel(70, 20));
    for (x, y) in [(20, 20), (20, 140), (70, 140), (40, 80)] {
        assert!(is_grey(x, y, with_box), "{x}, {y}: {:?}", with_box.get_pixel(x, y));
    }
    for photo in [plain, outside] {
        assert!((0..80).all(|x| (0..160).all(|y| is_grey(x, y, photo))), "no box");
    }
}

/// Values 3 1 2 1 0: at most three of them are 0, the first 1, the second 1.
#[test]
fn the_worst_queries_come_first() {
    let mut worst = PageQueries::new(PageChoice::Worst(3));
    for (name, value) in [("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 1.0), ("e", 0.0)] {
        worst.push(query(name, value));
    }
    assert!(worst.wants("f", 0.5) && !worst.wants("f", 1.0));
    let names: Vec<String> = worst.finish().unwrap().into_iter().map(|q| q.name).collect();
    assert_eq!(names, ["e", "b", "d"]);

    let mut none = PageQueries::new(PageChoice::Worst(0));
    none.push(query("a", 0.0));
    assert!(none.finish().unwrap().is_empty());

    let names = ["c", "a", "c"].map(str::to_owned).to_vec();
    let mut named = PageQueries::new(PageChoice::Named(names.clone()));
    for name in ["a", "b", "c"] {
        named.push(query(name, 1.0));
    }
    let found: Vec<String> = named.finish().unwrap().into_iter().map(|q| q.name).collect();
    assert_eq!(found, ["c", "a"]);
    let nobody = PageQueries::new(PageChoice::Named(names)).finish().unwrap_err().to_string();
    assert_eq!(nobody, "\"c\": no judged query has this name");
}

/// A page that cannot be written leaves nothing, and one that was there stays.
#[test]
fn pages_are_written_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let error = write_page(dir.path(), &head(), &[]).unwrap_err().to_string();
    assert!(error.contains("exists and is not a regular file"), "{error}");
    let error = write_page(&dir.path().join("no/page.html"), &head(), &[]).unwrap_err();
    assert!(error.to_string().contains("cannot create"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// 23 images, of which the first is junk, the second, the 20th and the 22nd are positive; a fourth
/// positive is not in the database, and a fifth is, but not in the ranking. Junk takes no rank:
/// the 22nd has rank 21.
#[test]
fn a_judged_ranking_becomes_a_row() {
    let place = |at| Place { file: Path::new("gt.csv").into(), at: At::Line(at) };
    let named: Vec<Named> =
        ["k1", "k19", "k21", "gone", "k23"].map(|name| Named::new(name, place(1))).to_vec();
    let setup = Setup {
        name: "official".to_owned(),
        rules: Rules { precision: ApForm::Trapezoid, headline: Measure::Map },
        own: OwnPhoto::Ranked,
        absent: Absent::NotFound,
        asked: Vec::new(),
    };
    let query = Query {
        name: "q".to_owned(),
        photo: Named::new("q.jpg", place(2)),
        bounding_box: Some([1.0, 2.0, 3.0, 4.0]),
    };
    let keys: Vec<String> = (0..24).map(|key| format!("k{key}")).collect();
    let scored = (0..23).map(|image| (-f64::from(image), image));
    let answer = Answer { ranked: with_ties(scored), ..Answer::default() };
    let mut judgements = vec![Negative; 23];
    judgements[0] = Ignored;
    for positive in [1, 19, 21] {
        judgements[positive] = Positive;
    }
    let images = [Some(1), Some(19), Some(21), None, Some(23)];
    let positives: Vec<_> = named.iter().zip(images).collect();
    let score = QueryScore {
        name: "q".to_owned(),
        average_precision: 0.25,
        value: 0.5,
        positives: 5,
        found: 3,
        first: Some(1),
        rank_ms: 0.0,
    };
    let judged = Judged {
        setup: &setup,
        query: &query,
        keys: &keys,
        answer: &answer,
        judgements: &judgements,
        positives: &positives,
        score: &score,
    };
    let photo_of = |image| (image != 1).then(|| PathBuf::from(format!("{image}.jpg")));
    let row = PageQuery::new(&judged, Some(PathBuf::from("q.jpg")), photo_of);
    assert_eq!((row.name.as_str(), row.value, row.bounding_box), ("q", 0.5, query.bounding_box));
    let ranks: Vec<Option<usize>> = row.hits.iter().map(|hit| hit.rank).collect();
    let expected: Vec<Option<usize>> = std::iter::once(None).chain((1..20).map(Some)).collect();
    assert_eq!(ranks, expected);
    let last = &row.hits[19];
    assert_eq!((last.key.as_str(), last.score, last.judgement), ("k19", -19.0, Positive));
    assert_eq!((&row.hits[1].photo, &last.photo), (&None, &Some(PathBuf::from("19.jpg"))));
    let missing = [("k21", Some(21)), ("gone", None), ("k23", None)];
    assert_eq!(row.missing, missing.map(|(name, rank)| (name.to_owned(), rank)));
}
