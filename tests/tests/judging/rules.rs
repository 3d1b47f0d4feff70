//! Ties, missing positives, short rankings, and files of other systems.

use super::*;

/// Line ends and marks of other systems change nothing.
#[test]
fn files_of_windows_are_the_same() {
    let copy = Copy::of("oxford5k");
    let files = ["photos.txt", "queries.txt", "gt_files_170407/hall_1_good.txt"];
    for file in files.iter().chain(&["gt_files_170407/hall_1_query.txt"]) {
        let text = fs::read_to_string(copy.at(file)).unwrap();
        let mark = if file.starts_with("gt") { "\u{feff}" } else { "" };
        copy.write(file, format!("{mark}{}", text.replace('\n', "\r\n")));
    }
    is_about(copy.value(OXFORD), 203.0 / 360.0);
    let copy = Copy::of("matches");
    let text = fs::read_to_string(copy.at("matches.csv")).unwrap();
    copy.write("matches.csv", format!("\u{feff}{}", text.replace(',', ";").replace('\n', "\r\n")));
    is_about(copy.value(MATCHES), 31.0 / 60.0);
}

/// By hand. Distances from 100000: 100001, 100100 and 100002, in this order of the list, are equal.
/// Against, the ranking is N P P (5/12); for, P P N (1); in the order of the list P N P (19/24).
/// 100100 finds N N N P (1/8) in any order.
#[test]
fn equal_scores() {
    let copy = Copy::of("holidays");
    copy.write("holidays_images.dat", "100000.jpg\n100001.jpg\n100100.jpg\n100002.jpg\n100101.jpg");
    copy.write("photos.fvecs", line(&[0.0, 1.0, 1.0, 1.0, 5.0]));
    for (ties, first) in [("against", 5.0 / 12.0), ("for", 1.0), ("order", 19.0 / 24.0)] {
        let report = copy.report(&format!("{HOLIDAYS} --ties {ties}"));
        let setup = &report["setups"][0];
        is_about(setup["value"].as_f64().unwrap(), (first + 1.0 / 8.0) / 2.0);
        assert_eq!((&setup["ties"], &setup["tied_queries"]), (&ties.into(), &1.into()));
    }
    is_about(copy.value(HOLIDAYS), (5.0 / 12.0 + 1.0 / 8.0) / 2.0);
}

/// By hand. Without hall_000003, hall_1 finds P N P of 3 positives, 19/36; gate_1 finds 5/12.
/// Without gate_000001 and gate_000002, gate_1 is not judged, and hall_1 has 32/45.
#[test]
fn positives_that_the_database_lacks() {
    let copy = Copy::of("oxford5k");
    copy.replace("photos.txt", "hall_000003", "other_000003");
    let message = fail("ocelli", 1, copy.args(OXFORD));
    assert!(message.contains("lacks \"hall_000003\", a positive of query \"hall_1\""), "{message}");
    assert!(message.contains("gt_files_170407/hall_1_ok.txt:1"), "{message}");
    let count = format!("{OXFORD} --missing count");
    let setup = &copy.report(&count)["setups"][0];
    is_about(setup["value"].as_f64().unwrap(), (19.0 / 36.0 + 5.0 / 12.0) / 2.0);
    assert_eq!(setup["positives_missing"], 1);

    let copy = Copy::of("oxford5k");
    copy.replace("photos.txt", "gate_000001", "other_000001");
    copy.replace("photos.txt", "gate_000002", "other_000002");
    let message = fail("ocelli", 1, copy.args(OXFORD));
    assert!(message.contains("gate_1_good.txt:1") && message.contains("gate_1_ok.txt:1"));
    let setup = &copy.report(&count)["setups"][0];
    is_about(setup["value"].as_f64().unwrap(), 32.0 / 45.0);
    assert_eq!(setup["all_missing"], serde_json::json!(["gate_1"]));
    let text = succeed("ocelli", copy.args(&count));
    assert!(text.contains("every positive is missing in the database, left out of the means, 1"));
}

/// By hand: the list ends before hall_000003, so hall_1 has P N P of 3 positives, 19/36. gate_1 has
/// no ranking and finds nothing.
#[test]
fn rankings_that_are_too_short() {
    let copy = Copy::of("oxford5k");
    copy.write("hall_1.txt", "hall_000004\nhall_000001\ngate_000001\nhall_000002\n");
    let flags = "@ --rankings @/hall_1.txt";
    let setup = &copy.report(flags)["setups"][0];
    is_about(setup["value"].as_f64().unwrap(), 19.0 / 72.0);
    assert_eq!(setup["short"], serde_json::json!(["hall_1"]));
    assert_eq!(setup["unranked"], serde_json::json!(["gate_1"]));
    let text = succeed("ocelli", copy.args(flags));
    let short = "queries whose ranking ends before all positives, the rest counts as not found, 1: \
                 hall_1";
    let unranked = "queries without a ranking, which found nothing, 1: gate_1";
    assert!(text.contains(short) && text.contains(unranked), "{text}");
}
