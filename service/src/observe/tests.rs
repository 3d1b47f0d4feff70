use axum::http::HeaderMap;

use super::context::RequestId;

fn id(given: Option<&str>) -> RequestId {
    let mut headers = HeaderMap::new();
    if let Some(given) = given {
        headers.insert("x-request-id", given.parse().expect("a header value"));
    }
    RequestId::of(&headers)
}

#[test]
fn an_id_is_the_clients_unless_it_could_forge_a_log_line() {
    assert_eq!(id(Some("web-1.2:a_B")).as_str(), "web-1.2:a_B");
    let long = "x".repeat(65);
    for bad in ["", "a b", "a=b", "\"", "{}", &long] {
        let drawn = id(Some(bad));
        assert_ne!(drawn.as_str(), bad);
        assert_eq!(drawn.as_str().len(), 16);
    }
}

#[test]
fn drawn_ids_differ() {
    let drawn: std::collections::BTreeSet<String> =
        (0..1000).map(|_| id(None).as_str().to_owned()).collect();
    assert_eq!(drawn.len(), 1000);
}
