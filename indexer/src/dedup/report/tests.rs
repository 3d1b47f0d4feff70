use std::fs;
use std::path::Path;
use std::process::Command;

use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use ocelli_test_support::program;
use serde_json::Value;

use super::*;
use crate::dedup::calibrate::{read_labels, sample};
use crate::dedup::clusters::{ClusterOptions, Distinct, Linkage, NothingKnown, cluster};
use crate::dedup::edge::{Edge, Label};
use crate::dedup::fixture::{Table, edge};
use crate::dedup::order::{Order, touched};
use crate::dedup::rows::Facts;
use crate::silent;

/// Pictures that are drawn: one for each group, and a little brighter for each copy. Every tenth
/// row has none.
struct Drawn;

impl Pictures for Drawn {
    fn jpeg(&self, facts: &Facts, longest_px: u32) -> std::result::Result<Vec<u8>, String> {
        if facts.id % 10 == 9 {
            return Err("the file is missing".to_owned());
        }
        let group = facts.modified_ms.unwrap_or(0) as u32;
        let light = (facts.id % 7) as u8 * 6;
        let size = (longest_px, longest_px * (2 + group % 3) / 5);
        let photo = RgbImage::from_fn(size.0, size.1, |x, y| {
            let wave =
                |k: u32| ((x * (1 + group % k) / 9 + y * (group % (k + 2)) / 7) % 12 * 15) as u8;
            Rgb([wave(5) / 2 + light, wave(7) + light / 2, (group % 200) as u8 / 2 + light])
        });
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, 80).encode_image(&photo).unwrap();
        Ok(file)
    }
}

/// So many clusters: of 2 to 6 rows each, and one of 300 rows.
fn rows(clusters: u64) -> (Table, Vec<Edge>) {
    let (mut table, mut edges) = (Table::default(), Vec::new());
    for group in 0..clusters {
        let first = table.facts.len() as u64;
        let size = if group == 7 { 300 } else { 2 + group % 5 };
        for member in 0..size {
            let id = first + member;
            table.facts.push(Facts {
                id,
                key: format!("2024/group {group}/</script><b>{member}.jpg"),
                width: Some(4000 - member as u32),
                height: Some(3000),
                bytes: Some(3_000_000 - 1000 * member),
                modified_ms: Some(group as i64),
                ..Facts::default()
            });
            if member > 0 {
                let label = Label::ALL[(member % 4) as usize];
                let score = 0.82 + ((group * 37 + member * 11) % 180) as f32 / 1000.0;
                edges.push(edge(first, id, score, label));
            }
        }
    }
    (table, edges)
}

fn made(table: &Table, edges: &dyn Edges, path: &Path, options: &ReportOptions) -> ReportMade {
    let threshold = 0.82;
    let (touched, _) = touched(edges, threshold, table.facts.len() as u64).unwrap();
    let by_rank = (0..touched.len() as u32).collect();
    let order = Order::new(touched, by_rank, 0).unwrap();
    let remove = Some(Label::Copy);
    let cluster_options = ClusterOptions {
        threshold,
        best_score: 1.0,
        linkage: Linkage::Leader,
        remove,
        memory: None,
    };
    let clusters =
        cluster(edges, order, &Distinct::default(), &mut NothingKnown, &cluster_options).unwrap();
    let freed: Vec<u64> = (0..clusters.len()).map(|n| u64::from(n) % 977 * 10_000).collect();
    let files =
        FileCounts { listed: 20, freed_bytes: 123_456_789, missing: 3, ..FileCounts::default() };
    let head = ReportHead {
        name: "holiday <photos>",
        run: "run".to_owned(),
        rows: table.facts.len() as u64,
        threshold: 0.9,
        files,
        freed_bytes: &freed,
    };
    let sample = sample(edges, 4).unwrap();
    let (below, clusters) = (&[], &clusters);
    let parts =
        ReportParts { edges, below, rows: table, clusters, pictures: &Drawn, sample: &sample };
    write_report(path, &head, &parts, options, &silent).unwrap()
}

/// The JSON of a block.
fn block(page: &str, id: &str) -> Value {
    let start = format!("<script type=\"application/json\" id=\"{id}\">");
    let rest = page.split_once(&start).unwrap().1;
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_of_few_clusters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let (table, edges) = rows(30);
    let found =
        made(&table, &edges, &path, &ReportOptions { pairs: 10, ..ReportOptions::default() });
    let page = fs::read_to_string(&path).unwrap();
    assert_eq!((found.clusters, found.bytes), (30, page.len() as u64));
    assert!(page.contains("<title>Duplicates in holiday &lt;photos&gt;</title>"));
    assert!(page.contains("Not listed to go: 3 missing."));
    assert!(page.contains("123.5 MB"));
    // Keys end no block.
    assert!(!page.contains("</script><b>"));
    let first = &block(&page, "c0")[0]["rows"];
    assert_eq!(first[0]["key"], "2024/group 0/</script><b>0.jpg");
    assert_eq!((&first[1]["label"], &first[1]["duplicate_of"]), (&Value::from(1), &Value::from(0)));
    // The large cluster shows 24 rows; the index knows all.
    assert_eq!(block(&page, "c0")[7]["rows"].as_array().unwrap().len(), 24);
    let index = block(&page, "index");
    assert_eq!(index["size"][7], 300);
    let head = block(&page, "head");
    assert_eq!((&head["threshold"], &head["cluster_block"]), (&Value::from(0.9), &Value::from(24)));
    // A row without a photo says why, and is counted.
    let rows = (0..2).flat_map(|b| block(&page, &format!("c{b}")).as_array().unwrap().clone());
    let rows: Vec<Value> = rows.flat_map(|c| c["rows"].as_array().unwrap().clone()).collect();
    for row in &rows {
        let is_missing = row["id"].as_str().unwrap().ends_with('9');
        assert_eq!(row["t"].is_null(), is_missing);
        assert_eq!(row["why"].as_str(), is_missing.then_some("the file is missing"));
    }
    // Pairs: ten on each side of the threshold, then those to judge.
    let kinds = index["pair_kind"].as_array().unwrap();
    assert_eq!(kinds.iter().filter(|kind| **kind == 0).count(), 20);
    assert_eq!(kinds.len() as u64, found.pairs);
    let pair = &block(&page, "p1")[11];
    assert!(pair["band"].as_str().unwrap().contains(" to ") && pair["band_pairs"].is_u64());
    // The same page again, and with fewer clusters those that are worth a look.
    let again = folder.path().join("again.html");
    made(&table, &edges, &again, &ReportOptions { pairs: 10, ..ReportOptions::default() });
    assert_eq!(fs::read_to_string(&again).unwrap(), page);
    let few = ReportOptions { clusters: 6, pairs: 10, ..ReportOptions::default() };
    assert_eq!(made(&table, &edges, &again, &few).clusters, 6);
    let page = fs::read_to_string(&again).unwrap();
    assert!(page.contains("24 clusters of 30 are not on this page"));
    let numbers: Vec<u64> = block(&page, "index")["number"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted() && numbers.contains(&7) && numbers.contains(&29), "{numbers:?}");
}

/// Runs the browser on a page, and gives what it made of it.
fn browse(browser: &Path, page: &Path, more: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,900"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(more)
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The result of a part of the driver on a page.
fn drive(browser: &Path, page: &Path, part: &str, more: &[&str]) -> Value {
    let page = PathBuf::from(format!("{}#{part}", page.display()));
    let shown = browse(browser, &page, more);
    let result = shown.split_once("<pre id=\"result\">").unwrap().1;
    let result = result.split_once("</pre>").unwrap().0;
    let result = result.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["error"], Value::Null, "{result}");
    result
}

/// A page of 10,000 clusters, driven by its keys in a browser: it moves, sorts and filters without
/// delay, keeps few elements, and saves verdicts that the calibration reads.
#[test]
fn a_page_of_many_clusters_in_a_browser() {
    let Some(browser) = program("a_page_of_many_clusters_in_a_browser", "chromium") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let (table, edges) = rows(10_000);
    let options = ReportOptions { thumbnail_px: 64, pair_px: 96, ..ReportOptions::default() };
    made(&table, &edges, &path, &options);
    // As it is, a page of few clusters: its policy lets its own script run.
    let small = folder.path().join("small.html");
    let (few, near) = rows(30);
    made(&few, &near, &small, &options);
    let shown = browse(&browser, &small, &[]);
    let list = shown.split_once("<main id=\"list\">").unwrap().1.split_once("</main>").unwrap().0;
    assert_eq!(list.matches("<section").count(), 24);
    assert!(list.contains("data:image/jpeg;base64,") && list.contains("the file is missing"));
    assert!(!list.contains("<b>0.jpg"), "a key became an element");
    // With a script that presses keys, which the policy would not let run.
    let page = fs::read_to_string(&path).unwrap();
    let (before, after) = page.split_once("<meta http-equiv").unwrap();
    let driver = include_str!("driver.js");
    let page = format!("{before}<meta name{after}<script>{driver}</script>");
    let driven = folder.path().join("driven.html");
    fs::write(&driven, page).unwrap();
    let result = drive(&browser, &driven, "keys", &[]);
    let number = |name: &str| result[name].as_f64().unwrap_or_else(|| panic!("{name}: {result}"));
    assert_eq!((number("clusters"), number("pages")), (10_000.0, 417.0));
    assert!(number("most_elements") < 4_000.0, "{result}");
    // Of two cores that others may use; an undivided list takes ten seconds and more.
    for what in ["slowest_page_ms", "slowest_mark_ms", "slowest_sort_ms"] {
        assert!(number(what) > 0.0 && number(what) < 1_500.0, "{what}: {result}");
    }
    assert_eq!(result["largest"], "Cluster 7");
    assert_eq!(number("last_page_cards"), 16.0);
    assert!(number("in_band") > 0.0 && number("in_band") < 10_000.0, "{result}");
    assert_eq!(result["download"], "labels.csv");
    assert_eq!(number("stored"), number("marks"));
    let labels = folder.path().join("labels.csv");
    fs::write(&labels, result["csv"].as_str().unwrap()).unwrap();
    let found = read_labels(&labels).unwrap();
    assert_eq!(found.pairs.len() as f64, number("marks"));
    let right = found.pairs.iter().filter(|pair| pair.right).count();
    assert_eq!(right as f64, number("right"));
    assert!(found.pairs.iter().all(|pair| pair.score.is_some()));
    let result = drive(&browser, &driven, "pairs", &["--virtual-time-budget=30000"]);
    let drawn = ["difference_is_drawn", "compared", "judged", "near"].map(|name| &result[name]);
    assert_eq!(drawn, [1, 1, 3, 200], "{result}");
    assert!(result["sample"].as_u64().unwrap() > 40, "{result}");
}
