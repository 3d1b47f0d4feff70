//! What the servers answer to questions that they cannot answer.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::collection::{DIM, collection};
use ocelli_proto::tonic::Code;
use ocelli_proto::tonic::transport::Endpoint;
use ocelli_proto::v1::query_term::Term;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_proto::v1::{
    QueryImage, QueryKey, QueryTerm, QueryVector, SearchOptions, SearchRequest,
};
use ocelli_test_support::Authority;
use ocelli_tests::{Server, fail, json, succeed};

/// Asks with one term and returns the status code and message.
fn refused(server: &Server, term: Term, change: impl FnOnce(&mut SearchRequest)) -> (Code, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut request = SearchRequest {
        terms: vec![QueryTerm { weight: None, term: Some(term) }],
        options: Some(SearchOptions { k: 5, ..SearchOptions::default() }),
        ..SearchRequest::default()
    };
    change(&mut request);
    let status = runtime
        .block_on(async {
            let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
            let mut client = SearchServiceClient::new(endpoint.connect().await.unwrap());
            client.search(request).await
        })
        .unwrap_err();
    (status.code(), status.message().to_owned())
}

fn vector(n: usize) -> Term {
    Term::Vector(QueryVector { values: vec![0.1; n], spec_hash: String::new() })
}

#[test]
fn each_mistake_has_its_code_and_its_numbers() {
    let c = collection();
    let encoder = c.encoder();
    let searcher = c.searcher(Some(&encoder));
    let (code, message) = refused(&searcher, vector(DIM + 1), |_| ());
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("32") && message.contains("33"), "both numbers: {message}");

    let (code, message) = refused(&searcher, vector(DIM), |r| r.index = "nobody".into());
    assert_eq!(code, Code::NotFound, "{message}");
    let (code, message) = refused(&searcher, vector(DIM), |r| r.generation = 99);
    assert_eq!(code, Code::NotFound, "{message}");
    let (code, message) =
        refused(&searcher, Term::Key(QueryKey { key: "nobody.jpg".into() }), |_| ());
    assert_eq!(code, Code::NotFound);
    assert!(message.contains("nobody.jpg"), "{message}");
    let (code, message) = refused(&searcher, vector(DIM), |r| {
        r.options.get_or_insert_default().k = 1_000_000;
    });
    assert_eq!(code, Code::InvalidArgument, "{message}");
    let (code, message) = refused(&searcher, vector(DIM), |r| r.terms.clear());
    assert_eq!(code, Code::InvalidArgument, "{message}");
    let image = QueryImage { data: b"no picture".to_vec(), r#box: None, sizes: vec![] };
    let (code, message) = refused(&searcher, Term::Image(image), |_| ());
    assert_eq!(code, Code::InvalidArgument, "{message}");
    let spec = "ab".repeat(32);
    let term = Term::Vector(QueryVector { values: vec![0.1; DIM], spec_hash: spec.clone() });
    let (code, message) = refused(&searcher, term, |_| ());
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains(&spec), "both hashes: {message}");
}

/// An encoder of another spec would make silently wrong queries: refused, with both hashes.
#[test]
fn an_encoder_of_another_spec_is_refused() {
    let c = collection();
    let mut args = vec!["serve".to_owned(), "--weights".into(), c.arg("net.safetensors")];
    args.extend(["--sizes".into(), "96".into()]);
    let encoder = Server::start("ocelli-encoder", args);
    let searcher = c.searcher(Some(&encoder));
    let photo = fs::read_dir(c.path("set/photos")).unwrap().next().unwrap().unwrap().path();
    let message =
        fail("ocelli", 1, ["query", "--server", &searcher.url, "--image", photo.to_str().unwrap()]);
    let hashes =
        message.split(|ch: char| !ch.is_ascii_hexdigit()).filter(|w| w.len() == 64).count();
    assert!(hashes >= 2, "{message}");
}

#[test]
fn a_searcher_without_encoder_still_answers_by_key() {
    let c = collection();
    let searcher = c.searcher(None);
    let part = ocelli_index::Part::open(&c.path("photos.part")).unwrap();
    let key = part.key(3).unwrap();
    assert_eq!(c.ask(&searcher, &["--key", &key])["hits"][0]["key"], key);
    let photo = c.arg(&format!("set/photos/{key}"));
    let message = fail("ocelli", 1, ["query", "--server", &searcher.url, "--image", &photo]);
    assert!(message.contains("encoder"), "{message}");
    let text = succeed("ocelli", ["query", "--server", &searcher.url, "--key", &key, "-k", "3"]);
    assert!(text.contains(&key), "{text}");
}

/// What an operator does at night, by the command alone.
#[test]
fn operators_ask_and_change_by_command() {
    let c = collection();
    let searcher = c.searcher(None);
    let admin = |args: &[&str]| {
        let mut all = vec!["admin", args[0], "--server", &searcher.url, "--format", "json"];
        all.extend(&args[1..]);
        json("ocelli", all)
    };
    let status = admin(&["status"]);
    assert_eq!(status["ready"], true);
    assert_eq!(status["indexes"][0]["faults"], serde_json::json!([]));
    let generation = status["indexes"][0]["generation"].clone();
    let found = admin(&["generations"]);
    assert_eq!((&found["current"], &found["serving"]), (&generation, &generation));
    assert_eq!(admin(&["reload"])["generation"], generation);
    assert_eq!(admin(&["drain", "--wait-ms", "1000"])["in_flight"], 0);
    assert_eq!(admin(&["status"])["ready"], false);
    admin(&["resume"]);
    assert_eq!(admin(&["status"])["ready"], true);

    let text = succeed("ocelli", ["admin", "status", "--server", &searcher.url]);
    assert!(text.starts_with("ready,") && text.contains("demo: generation 1"), "{text}");
    let text = succeed("ocelli", ["admin", "generations", "--server", &searcher.url]);
    assert!(text.contains("generation 1 (current, served)"), "{text}");
    let wrong =
        ["admin", "activate", "--server", &searcher.url, "--expected", "9", "--generation", "1"];
    let message = fail("ocelli", 1, wrong);
    assert!(message.contains("ABORTED") && message.contains('9'), "{message}");
    let message =
        fail("ocelli", 1, ["admin", "rollback", "--server", &searcher.url, "--expected", "1"]);
    assert!(!message.is_empty());
}

/// A photo is looked for by the command, the searcher and the encoder, all over TLS: with a client
/// certificate and a token at the searcher, a token of its own at the encoder.
#[test]
fn a_photo_is_found_by_tls_and_tokens() {
    let c = collection();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::new("all").unwrap();
    authority.write(path("ca.pem").into()).unwrap();
    for name in ["searcher", "encoder", "user"] {
        authority.issue(folder.path(), name).unwrap();
    }
    let draw = |program, name: &str| {
        let line =
            succeed(program, ["token", "--name", name, "--role", "search", "--out", &path(name)]);
        fs::write(path(&format!("{name}.tokens")), line).unwrap();
    };
    draw("ocelli-searcher", "user");
    draw("ocelli-encoder", "searcher");
    let security = |server: &str, client: &str| {
        let [cert, key, tokens] = [".pem", ".key", ".tokens"].map(|ending| match ending {
            ".tokens" => path(&format!("{client}{ending}")),
            _ => path(&format!("{server}{ending}")),
        });
        format!("[security]\ntls_cert = {cert:?}\ntls_key = {key:?}\ntokens_file = {tokens:?}\n")
    };
    fs::write(path("encoder.toml"), security("encoder", "searcher")).unwrap();
    let [ca, token] = [path("ca.pem"), path("searcher")];
    let searcher = format!(
        "{}tls_client_ca = {ca:?}\n[encoder]\ntls_ca = {ca:?}\ntoken_file = {token:?}\n",
        security("searcher", "user")
    );
    fs::write(path("searcher.toml"), searcher).unwrap();

    let mut args = vec!["serve".to_owned(), "--config".into(), path("encoder.toml")];
    args.extend(c.network());
    args.extend(["--whitening".into(), c.arg("w.whitening")]);
    let encoder = Server::start("ocelli-encoder", args);
    let index = format!("demo={}", c.arg("index"));
    let url = format!("https://{}", encoder.address());
    let args = ["serve", "--config", &path("searcher.toml"), "--index", &index, "--encoder", &url];
    let searcher = Server::start("ocelli", args);
    let photo = fs::read_dir(c.path("set/photos"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| !name.starts_with("zz-"))
        .unwrap();
    let server = format!("https://{}", searcher.address());
    let image = c.arg(&format!("set/photos/{photo}"));
    let ask =
        ["query", "--format", "json", "--server", &server, "--image", &image, "--tls-ca", &ca];
    let [cert, key, token] = ["user.pem", "user.key", "user"].map(path);
    let certificate = ["--tls-cert", &cert, "--tls-key", &key];
    let shown = ["--token-file", &token];
    let found = json("ocelli", ask.iter().chain(&certificate).chain(&shown));
    assert_eq!(found["hits"][0]["key"], *photo, "{found}");
    let message = fail("ocelli", 1, ask.iter().chain(&certificate));
    assert!(message.contains("UNAUTHENTICATED"), "{message}");
    let message = fail("ocelli", 1, ask.iter().chain(&shown));
    assert!(message.contains(&server) && message.trim().lines().count() == 1, "{message}");
    assert!(searcher.terminate() && encoder.terminate());
}

#[test]
fn a_server_that_is_not_there_is_one_line() {
    let message = fail("ocelli", 1, ["query", "--server", "http://127.0.0.1:9", "--id", "1"]);
    assert_eq!(message.trim().lines().count(), 1, "{message}");
    assert!(message.contains("127.0.0.1:9"), "{message}");
}

/// An address that is free, and stays so: the system gives no port below 32768 to servers that ask
/// for any, as those of other tests do.
fn free_address() -> String {
    let from = 20_000 + std::process::id() as u16 % 10_000;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (from..32_000).find(free).expect("a free port");
    format!("127.0.0.1:{port}")
}

/// The encoder says over HTTP what it has done, by outcome and stage.
#[test]
fn the_encoder_serves_metrics() {
    let c = collection();
    let free = free_address();
    let mut args = vec!["serve".to_owned(), "--metrics".into(), free.clone()];
    args.extend(c.network());
    args.extend(["--whitening".into(), c.arg("w.whitening")]);
    let encoder = Server::start("ocelli-encoder", args);
    let searcher = c.searcher(Some(&encoder));
    let photo =
        fs::read_dir(c.path("set/photos")).unwrap().map(|e| e.unwrap().path()).min().unwrap();
    c.ask(&searcher, &["--image", photo.to_str().unwrap()]);
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&free).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(get("/readyz").starts_with("HTTP/1.1 200"));
    let metrics = get("/metrics");
    for line in [
        "ocelli_encoder_images_total{outcome=\"ok\"} 1",
        "ocelli_encoder_stage_seconds_count{stage=\"decode\"} 1",
        "grpc_server_handled_total{grpc_service=\"ocelli.v1.EncoderService\",\
         grpc_method=\"Encode\",grpc_code=\"OK\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
}
