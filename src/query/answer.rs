//! Answers as text and as JSON.

use ocelli_index::Literal;
use ocelli_index::attributes::names::{CAPTURED_MS, MODIFIED_MS};
use ocelli_proto::v1;
use ocelli_proto::v1::attribute_value;
use serde_json::{Value, json};

use crate::output::cell;

/// The response as a ranked table and a line each about scores, shards and times.
pub(super) fn to_table(response: &v1::SearchResponse) -> String {
    let columns: Vec<Vec<String>> = response.attributes.iter().map(cells).collect();
    // The name of each column or its value of a hit, as wide as the widest.
    let attributes = |line: usize| {
        let padded = columns.iter().map(|column| {
            let width = column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
            format!("  {:<width$}", column.get(line).map_or("", String::as_str))
        });
        padded.collect::<String>()
    };
    let (rank, score, id) = ("rank", "score", "id");
    let mut lines = vec![format!("{rank:>4}  {score:>10}  {id:>10}{}  key", attributes(0))];
    for (hit, (id, score)) in response.ids.iter().zip(&response.scores).enumerate() {
        let key = cell(response.keys.get(hit).map_or("", String::as_str));
        let (rank, attributes) = (hit + 1, attributes(hit + 1));
        lines.push(format!("{rank:>4}  {score:>10.6}  {id:>10}{attributes}  {key}"));
    }
    let shards = response.shards.clone().unwrap_or_default();
    let scores = match response.metric() {
        v1::Metric::InnerProduct => "inner product",
        v1::Metric::L2 => "squared L2 distance",
        v1::Metric::Unspecified => "unknown metric",
    };
    lines.push(format!(
        "{} hits by {scores}, generation {}, {} of {} shards",
        response.ids.len(),
        response.generation,
        shards.answered,
        shards.asked
    ));
    if !shards.failed.is_empty() {
        let failed: Vec<_> = shards.failed.iter().map(|shard| cell(shard)).collect();
        lines.push(format!("failed shards: {}", failed.join(", ")));
    }
    if response.sizes_differ {
        lines.push("the image was encoded at other sizes than the index".to_owned());
    }
    let ms = |(stage, us): (String, u64)| format!("{stage} {:.2}", us as f64 / 1e3);
    let times = stages(response).into_iter().map(ms);
    lines.push(format!("ms: {}", times.collect::<Vec<_>>().join(", ")));
    lines.join("\n")
}

/// The name of a column and its values for people.
fn cells(column: &v1::AttributeColumn) -> Vec<String> {
    let is_time = [CAPTURED_MS, MODIFIED_MS].contains(&column.name.as_str());
    let show = |value: &v1::AttributeValue| match &value.value {
        Some(attribute_value::Value::Int(ms)) if is_time => Literal::Time(*ms).to_string(),
        Some(attribute_value::Value::Text(text)) => cell(text).into_owned(),
        _ => plain(value).to_string().trim_matches('"').to_owned(),
    };
    let name = cell(&column.name).into_owned();
    std::iter::once(name).chain(column.values.iter().map(show)).collect()
}

/// A value as it is in JSON: bytes as hexadecimal digits, a number without end as text.
fn plain(value: &v1::AttributeValue) -> Value {
    match &value.value {
        None => Value::Null,
        Some(attribute_value::Value::Int(v) | attribute_value::Value::TimeMs(v)) => json!(v),
        Some(attribute_value::Value::Float(v)) if v.is_finite() => json!(v),
        Some(attribute_value::Value::Float(v)) => json!(v.to_string()),
        Some(attribute_value::Value::Bool(v)) => json!(v),
        Some(attribute_value::Value::Text(v)) => json!(v),
        Some(attribute_value::Value::Bytes(v)) => {
            json!(v.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

/// The response as JSON, hits as rows.
pub(super) fn to_json(response: &v1::SearchResponse) -> Value {
    let hits = response.ids.iter().zip(&response.scores).enumerate();
    let hits = hits.map(|(hit, (id, score))| {
        let mut shown =
            json!({ "rank": hit + 1, "id": id, "score": score, "key": response.keys.get(hit) });
        if !response.attributes.is_empty() {
            let value = |column: &v1::AttributeColumn| {
                let value = column.values.get(hit).map_or(Value::Null, plain);
                (column.name.clone(), value)
            };
            shown["attributes"] = response.attributes.iter().map(value).collect();
        }
        shown
    });
    let shards = response.shards.clone().unwrap_or_default();
    json!({
        "hits": hits.collect::<Vec<_>>(),
        "metric": response.metric().name(),
        "generation": response.generation,
        "shards": {
            "asked": shards.asked, "answered": shards.answered, "failed": shards.failed,
        },
        "sizes_differ": response.sizes_differ,
        "times_us": Value::from_iter(stages(response)),
    })
}

/// The name of each stage in order, and of the total, with its time in microseconds.
fn stages(response: &v1::SearchResponse) -> Vec<(String, u64)> {
    let times = response.times.clone().unwrap_or_default();
    let stages = times.stages.iter().map(|time| (time.stage().name(), time.us));
    stages.chain([("total".to_owned(), times.total_us)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table has a line for each hit, whatever its key is.
    #[test]
    fn keys_forge_no_rows_and_command_no_terminal() {
        let forged =
            "a.jpg\n   1    0.000000           9  b.jpg\u{1b}[2K\u{7}\r\u{2028}c".to_owned();
        let keys = vec![forged, "x".repeat(10_000), "plain é.jpg".to_owned()];
        let response = v1::SearchResponse {
            ids: vec![1, 2, 3],
            scores: vec![0.5, 0.6, 0.7],
            keys,
            ..Default::default()
        };
        let table = to_table(&response);
        let plain = v1::SearchResponse { keys: vec![String::new(); 3], ..response };
        assert_eq!(table.lines().count(), to_table(&plain).lines().count());
        assert!(!table.chars().any(|c| c.is_control() && c != '\n') && table.len() < 2000);
        assert!(table.contains("a.jpg\\n   1") && table.contains("plain é.jpg"), "{table}");
    }

    #[test]
    fn attributes_are_columns_of_the_table_and_fields_of_json() {
        use attribute_value::Value as V;
        let column = |name: &str, values: [Option<V>; 2]| v1::AttributeColumn {
            name: name.to_owned(),
            values: values.map(|value| v1::AttributeValue { value }).to_vec(),
            ..Default::default()
        };
        let response = v1::SearchResponse {
            ids: vec![7, 8],
            scores: vec![0.5, 0.6],
            keys: vec!["a.jpg".to_owned(), "b.jpg".to_owned()],
            attributes: vec![
                column("captured_ms", [Some(V::Int(86_400_000)), None]),
                column("camera", ["a\nb", "é"].map(|text| Some(V::Text(text.to_owned())))),
                column("phash", [Some(V::Bytes(vec![1, 171])), Some(V::Bytes(vec![]))]),
                column("x", [Some(V::Float(0.5)), Some(V::Float(f64::INFINITY))]),
                column("public", [Some(V::Bool(true)), None]),
            ],
            ..Default::default()
        };
        let table = to_table(&response);
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][3..], ["captured_ms", "camera", "phash", "x", "public", "key"]);
        let first = ["1970-01-02T00:00:00.000Z", "a\\nb", "01ab", "0.5", "true", "a.jpg"];
        assert_eq!(lines[1][3..], first, "{table}");
        assert_eq!(lines[2][3..], ["null", "é", "inf", "null", "b.jpg"], "{table}");
        let json = to_json(&response);
        let first = json!({
            "captured_ms": 86_400_000, "camera": "a\nb", "phash": "01ab", "x": 0.5, "public": true,
        });
        assert_eq!(json["hits"][0]["attributes"], first);
        let second = json!({
            "captured_ms": null, "camera": "é", "phash": "", "x": "inf", "public": null,
        });
        assert_eq!(json["hits"][1]["attributes"], second);
        let bare = to_json(&v1::SearchResponse { attributes: vec![], ..response });
        assert!(bare["hits"][0].get("attributes").is_none());
    }
}
