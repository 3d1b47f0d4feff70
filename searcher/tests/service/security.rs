//! TLS, client certificates and tokens, with the server as a process of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use ocelli_proto::status::reason;
use ocelli_proto::tonic::service::interceptor::InterceptedService;
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use ocelli_proto::v1::admin_service_client::AdminServiceClient;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_proto::v1::stream_search_response::Outcome;
use ocelli_service::client::{ClientSecurity, SecureChannel};
use ocelli_service::security::{Security, SecurityConfig};
use tempfile::TempDir;
use tonic::Code;

use crate::observe::get;
use crate::process::{DRAINING, Process, queries_end, soon};
use crate::query::{id, image, one, vector};
use crate::support::{DIM, FakeEncoder, build, numbers, spec};
use ocelli_test_support::Authority;

/// An index, two authorities, and a server's certificate of the first.
pub struct Place {
    folder: TempDir,
    first: Authority,
    second: Authority,
}

impl Place {
    pub fn new() -> Result<Place> {
        let (folder, first, second) =
            (tempfile::tempdir()?, Authority::new("first")?, Authority::new("second")?);
        let place = Place { folder, first, second };
        build(&place.path("index"))?;
        place.first.write(place.path("first.ca"))?;
        place.second.write(place.path("second.ca"))?;
        place.first.issue(place.folder.path(), "server")?;
        Ok(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A server with its certificate and these settings.
    pub fn start(&self, settings: &[(&str, &str)]) -> Result<Process> {
        let (cert, key) = (self.text("server.pem"), self.text("server.key"));
        let mut all = vec![
            ("SECURITY__TLS_CERT", cert.as_str()),
            ("SECURITY__TLS_KEY", key.as_str()),
            ("SECURITY__RELOAD_INTERVAL_MS", "50"),
        ];
        all.extend(settings);
        Process::start(&self.path("index"), &all)
    }

    /// Draws a token into the file NAME, as an operator does; returns its line for servers.
    pub fn token(&self, name: &str, role: &str) -> Result<String> {
        self.token_with(name, role, &[])
    }

    fn token_with(&self, name: &str, role: &str, flags: &[&str]) -> Result<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli-searcher"));
        command
            .args(["token", "--name", name, "--role", role, "--out", &self.text(name)])
            .args(flags);
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A client that trusts `ca`, with the named certificate and token.
    fn client(&self, ca: &str, cert: Option<&str>, token: Option<&str>) -> ClientSecurity {
        let named = |name: Option<&str>, ending: &str| {
            name.map_or_else(PathBuf::new, |name| self.path(&format!("{name}{ending}")))
        };
        ClientSecurity {
            tls_ca: self.path(ca),
            tls_cert: named(cert, ".pem"),
            tls_key: named(cert, ".key"),
            token_file: named(token, ""),
        }
    }
}

async fn channel(server: &Process, client: &ClientSecurity) -> Result<SecureChannel> {
    let (endpoint, bearer) = client.endpoint(&format!("https://{}", server.address))?;
    Ok(InterceptedService::new(endpoint.connect().await?, bearer))
}

/// Calls over TLS. A refused certificate is a failed connection or, with TLS 1.3, a failed call.
async fn ask(server: &Process, client: &ClientSecurity) -> Result<v1::SearchResponse> {
    let mut client = SearchServiceClient::new(channel(server, client).await?);
    Ok(client.search(one(id(3))).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_with_the_right_certificate_get_in() -> Result<()> {
    let place = Place::new()?;
    place.second.issue(place.folder.path(), "right")?;
    place.first.issue(place.folder.path(), "wrong")?;
    let authorities = place.text("second.ca");
    let mut server = place.start(&[("SECURITY__TLS_CLIENT_CA", authorities.as_str())])?;
    let right = place.client("first.ca", Some("right"), None);
    assert_eq!(ask(&server, &right).await?.ids.len(), 10);
    let plain =
        async { server.client().await?.search(one(id(3))).await.map_err(anyhow::Error::from) };
    assert!(plain.await.is_err(), "no TLS");
    for (who, client) in [
        ("trusts another authority", place.client("second.ca", Some("right"), None)),
        ("has no certificate", place.client("first.ca", None, None)),
        ("has one of another authority", place.client("first.ca", Some("wrong"), None)),
    ] {
        assert!(ask(&server, &client).await.is_err(), "{who}");
    }
    assert_eq!(ask(&server, &right).await?.ids.len(), 10);
    server.check_alive()
}

/// The log warns of a private key that everybody on the machine can read, with a remedy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_for_all_eyes_is_warned_of() -> Result<()> {
    let place = Place::new()?;
    let key = place.path("server.key");
    for (mode, warned) in [(0o644, true), (0o600, false), (0o640, false)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode))?;
        let server = place.start(&[("METRICS__LISTEN", "127.0.0.1:0")])?;
        // The server looks at its key before it listens anywhere.
        let log = server.tells("metrics address=").await?;
        let told = log.contains(&format!("chmod 600 {}", key.display()));
        assert_eq!(told, warned, "{mode:o}: {log}");
    }
    Ok(())
}

/// A client certificate gives no more than the role `search`, unless a file names it; that can
/// change while the server runs, on connections that are open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_named_certificates_administer() -> Result<()> {
    let place = Place::new()?;
    place.second.issue_named(place.folder.path(), "web", "web", &["web.example.org"])?;
    place.second.issue_named(place.folder.path(), "ops", "x", &["spiffe://example.org/ops"])?;
    fs::write(place.path("admins"), "uri spiffe://example.org/ops\n")?;
    let (authorities, admins) = (place.text("second.ca"), place.text("admins"));
    let mut server = place.start(&[
        ("SECURITY__TLS_CLIENT_CA", authorities.as_str()),
        ("SECURITY__ADMINS_FILE", admins.as_str()),
    ])?;
    let web = channel(&server, &place.client("first.ca", Some("web"), None)).await?;
    let ops = channel(&server, &place.client("first.ca", Some("ops"), None)).await?;
    let administers = |channel: &SecureChannel| {
        let mut admin = AdminServiceClient::new(channel.clone());
        async move { admin.get_status(v1::GetStatusRequest {}).await.map(drop) }
    };
    for channel in [&web, &ops] {
        SearchServiceClient::new(channel.clone()).search(one(id(3))).await?;
    }
    administers(&ops).await?;
    let refused = administers(&web).await.expect_err("it is not named");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason(&refused).0, ErrorReason::RoleInsufficient);
    assert!(refused.message().contains("security.admins_file"), "{refused}");

    fs::write(place.path("admins"), "dns web.example.org\n")?;
    assert!(soon(|| async { Ok(administers(&web).await.is_ok()) }).await?, "{}", server.log());
    assert!(administers(&ops).await.is_err());
    server.tells("new names of administrators are in use").await?;
    server.check_alive()
}

/// The log warns of a certificate that ends soon or has ended, when the server starts and when the
/// certificate is replaced. The server stays ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_of_certificates_are_told() -> Result<()> {
    let place = Place::new()?;
    let from_now = |hours: i64| -> Result<(SystemTime, u64)> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let at = now.checked_add_signed(hours * 3600).context("a time")?;
        Ok((SystemTime::UNIX_EPOCH + Duration::from_secs(at), at))
    };
    let issue = |hours: i64| -> Result<u64> {
        let (end, at) = from_now(hours)?;
        place.first.issue_until(place.folder.path(), "next", end)?;
        fs::rename(place.path("next.pem"), place.path("server.pem"))?;
        fs::rename(place.path("next.key"), place.path("server.key"))?;
        Ok(at)
    };
    let first = issue(3 * 24 + 1)?;
    let authorities = place.text("second.ca");
    let mut server = place.start(&[
        ("SECURITY__TLS_CLIENT_CA", authorities.as_str()),
        ("METRICS__LISTEN", "127.0.0.1:0"),
    ])?;
    let log = server.tells("a certificate ends soon").await?;
    let line = log.lines().find(|line| line.contains("ends soon")).context("a line")?;
    for part in ["WARN", "certificate=\"server\"", "server.pem", "days=3"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let gauge = async |at: u64| -> Result<bool> {
        let metrics = get(&server, "/metrics").await?.1;
        let name = "ocelli_certificate_expiry_timestamp_seconds";
        assert!(metrics.contains(&format!("{name}{{certificate=\"client_ca\"}} ")), "{metrics}");
        Ok(metrics.contains(&format!("{name}{{certificate=\"server\"}} {at}\n")))
    };
    assert!(gauge(first).await?);

    // A far end has no warning; an end that is over has one.
    let second = issue(400 * 24)?;
    assert!(soon(|| async { gauge(second).await }).await?, "{}", server.log());
    let third = issue(-2)?;
    assert!(soon(|| async { gauge(third).await }).await?, "{}", server.log());
    server.tells("a certificate has ended").await?;
    assert_eq!(server.log().matches("ends soon").count(), 1, "{}", server.log());
    assert!(get(&server, "/readyz").await?.0.contains("200"));
    server.check_alive()
}

/// A token over its limit gets the time to wait; a token without a limit is not delayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_asks_too_often_is_refused() -> Result<()> {
    let place = Place::new()?;
    let line = place.token_with("slow", "search", &["--rate-per-s", "0.01", "--burst", "2"])?;
    assert!(line.ends_with(" rate_per_s=0.01 burst=2\n"), "{line}");
    fs::write(place.path("tokens"), format!("{line}{}", place.token("free", "search")?))?;
    let tokens = place.text("tokens");
    let mut server = place.start(&[("SECURITY__TOKENS_FILE", tokens.as_str())])?;
    let slow = channel(&server, &place.client("first.ca", None, Some("slow"))).await?;
    let mut slow = SearchServiceClient::new(slow);
    for _ in 0..2 {
        slow.search(one(id(3))).await?;
    }
    let refused = slow.search(one(id(3))).await.expect_err("more than it may");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(reason(&refused).0, ErrorReason::RateLimited);
    let details = tonic_types::StatusExt::get_error_details(&refused);
    let after = details.retry_info().and_then(|info| info.retry_delay).context("when")?;
    assert!((1..=100).contains(&after.as_secs()), "{after:?}");
    let free = place.client("first.ca", None, Some("free"));
    for _ in 0..5 {
        assert_eq!(ask(&server, &free).await?.ids.len(), 10);
    }
    server.check_alive()
}

/// A stream goes on over a connection of the old certificate while new connections get the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_a_running_stream() -> Result<()> {
    let place = Place::new()?;
    let mut server = place.start(&[])?;
    let (old, new) = (place.client("first.ca", None, None), place.client("second.ca", None, None));
    let mut client = SearchServiceClient::new(channel(&server, &old).await?);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let open = client.stream_search(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let question = |tag| v1::StreamSearchRequest { tag, search: Some(one(id(3))) };
    sender.send(question(1)).await?;
    let mut answers = open.await?.into_inner();
    assert_eq!(answers.message().await?.context("an answer")?.tag, 1);

    // Half a file is reported, and changes nothing.
    let publish = |name: &str, contents: &[u8]| -> Result<()> {
        fs::write(place.path("new.tmp"), contents)?;
        Ok(fs::rename(place.path("new.tmp"), place.path(name))?)
    };
    place.second.issue(place.folder.path(), "next")?;
    let cert = fs::read(place.path("next.pem"))?;
    publish("server.pem", &cert[..cert.len() / 2])?;
    server.tells("cannot be read again").await?;
    assert_eq!(ask(&server, &old).await?.ids.len(), 10);

    publish("server.pem", &cert)?;
    publish("server.key", &fs::read(place.path("next.key"))?)?;
    assert!(soon(|| async { Ok(ask(&server, &new).await.is_ok()) }).await?, "{}", server.log());
    assert!(ask(&server, &old).await.is_err(), "the old certificate is still shown");
    for tag in 2..10 {
        sender.send(question(tag)).await?;
        let answer = answers.message().await?.context("an answer")?;
        assert_eq!(answer.tag, tag);
        let found =
            matches!(answer.outcome, Some(Outcome::Response(found)) if found.ids.len() == 10);
        assert!(found, "question {tag}");
    }
    server.check_alive()
}

/// The end of a large answer is not lost at shutdown: TLS ends below the lingering end of the
/// connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_queries_end_by_tls() -> Result<()> {
    let place = Place::new()?;
    let mut server = place.start(&DRAINING)?;
    server.tls_ca = place.path("first.ca");
    queries_end(server, 2000).await
}

/// Roles of tokens, messages of refusals, a change of tokens, and no secret in any log: neither the
/// clients' tokens nor the server's own token for the encoder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_what_they_may_and_are_in_no_log() -> Result<()> {
    let place = Place::new()?;
    let reader = place.token("reader", "search")?;
    let operator = place.token("operator", "admin")?;
    place.token("stranger", "admin")?;
    fs::write(place.path("tokens"), format!("{reader}{operator}"))?;
    let for_encoder = place.token("for-encoder", "search")?;
    fs::write(place.path("encoder.tokens"), &for_encoder)?;
    let (tls_cert, tls_key) = place.second.issue(place.folder.path(), "encoder")?;
    let security = Security::open(&SecurityConfig {
        insecure: false,
        tls_cert,
        tls_key,
        tls_client_ca: PathBuf::new(),
        admins_file: PathBuf::new(),
        expiry_warning_days: 14,
        tokens_file: place.path("encoder.tokens"),
        reload_interval_ms: 50,
    })?;
    let encoder = FakeEncoder::new(spec().hash()).serve_secured(security).await?;
    let url = encoder.url.replace("http://", "https://");
    let (tokens, encoder_ca, encoder_token) =
        (place.text("tokens"), place.text("second.ca"), place.text("for-encoder"));
    let mut server = place.start(&[
        ("SECURITY__TOKENS_FILE", tokens.as_str()),
        ("ENCODER__URL", url.as_str()),
        ("ENCODER__TLS_CA", encoder_ca.as_str()),
        ("ENCODER__TOKEN_FILE", encoder_token.as_str()),
        ("LOG__FILTER", "trace"),
    ])?;

    let missing = (Code::Unauthenticated, ErrorReason::TokenMissing);
    let unknown = (Code::Unauthenticated, ErrorReason::TokenUnknown);
    let forbidden = (Code::PermissionDenied, ErrorReason::RoleInsufficient);
    for (who, search, admin) in [
        (None, Some(missing), Some(missing)),
        (Some("stranger"), Some(unknown), Some(unknown)),
        (Some("reader"), None, Some(forbidden)),
        (Some("operator"), None, None),
    ] {
        let channel = channel(&server, &place.client("first.ca", None, who)).await?;
        let mut searching = SearchServiceClient::new(channel.clone());
        let searched = searching.search(one(vector(numbers(5, DIM)))).await;
        let by_image = searching.search(one(v1::query_term::Term::Image(image(b"photo")))).await;
        let status = AdminServiceClient::new(channel).get_status(v1::GetStatusRequest {}).await;
        let code = |status: tonic::Status| (status.code(), reason(&status).0);
        assert_eq!(searched.err().map(code), search, "{who:?}");
        assert_eq!(by_image.err().map(code), search, "{who:?}, with the encoder's token");
        assert_eq!(status.err().map(code), admin, "{who:?}");
    }

    // A token is taken away while the server runs, and the encoder no longer takes the one that
    // this server has.
    let with = |name| place.client("first.ca", None, Some(name));
    fs::write(place.path("tokens"), &operator)?;
    let gone = || async { Ok(ask(&server, &with("reader")).await.is_err()) };
    assert!(soon(gone).await?, "{}", server.log());
    assert_eq!(ask(&server, &with("operator")).await?.ids.len(), 10);
    let renewed = place.token("for-encoder-2", "search")?;
    fs::write(place.path("encoder.tokens"), &renewed)?;
    let mut client = SearchServiceClient::new(channel(&server, &with("operator")).await?);
    let by_image = || one(v1::query_term::Term::Image(image(b"photo")));
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    let refused = loop {
        match client.search(by_image()).await {
            Err(status) => break status,
            Ok(_) => ensure!(tokio::time::Instant::now() < end, "the old token is still taken"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    // Not UNAUTHENTICATED: this client's token is right.
    assert_eq!(refused.code(), Code::Internal, "{refused}");
    assert!(refused.message().contains("UNAUTHENTICATED: the token is unknown"), "{refused}");
    let read = |name: &str| fs::read_to_string(place.path(name));
    let mut secrets = vec![reader, operator, for_encoder, renewed];
    for name in ["reader", "operator", "stranger", "for-encoder", "for-encoder-2"] {
        secrets.push(read(name)?);
    }
    secrets.push(read("server.key")?.lines().nth(1).context("a key")?.to_owned());
    fs::rename(place.path("for-encoder-2"), place.path("for-encoder"))?;
    let client = client;
    let taken = || async { Ok(client.clone().search(by_image()).await.is_ok()) };
    assert!(soon(taken).await?, "{}", server.log());

    server.check_alive()?;
    let log = server.tells("reason=\"TOKEN_UNKNOWN\"").await?;
    assert!(log.contains("TRACE"), "that log says nothing");
    for secret in &secrets {
        // A token is `ocelli_…`, a server's line ends with its hash.
        let secret = secret.trim().rsplit([' ', '_']).next().context("a secret")?;
        assert!(secret.len() >= 64 && !log.contains(secret), "a secret is in the log");
        assert!(!log.contains(&secret[..32]), "half a secret is in the log");
    }
    Ok(())
}

/// An address that other machines reach needs TLS and tokens, or `--insecure`.
#[test]
fn an_address_beyond_loopback_is_refused() -> Result<()> {
    let place = Place::new()?;
    fs::write(place.path("tokens"), place.token("reader", "search")?)?;
    let serve = |settings: &[(&str, PathBuf)], flags: &[&str]| -> Result<(bool, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli-searcher"));
        command.args(["serve", "--listen", "0.0.0.0:0", "--index"]);
        command.arg(format!("synthetic={}", place.text("index"))).args(flags);
        for (name, value) in settings {
            command.env(format!("OCELLI_SEARCHER_SECURITY__{name}"), value);
        }
        started(command)
    };
    let tls = || [("TLS_CERT", place.path("server.pem")), ("TLS_KEY", place.path("server.key"))];
    let tokens = || ("TOKENS_FILE", place.path("tokens"));
    let [cert, key] = tls();
    for (settings, missing) in [
        (vec![], "expected TLS (security.tls_cert and tls_key) and tokens (security.tokens_file)"),
        (tls().to_vec(), "expected tokens (security.tokens_file) or client certificates"),
        (vec![tokens()], "expected TLS (security.tls_cert and tls_key), or --insecure"),
    ] {
        let (up, said) = serve(&settings, &[])?;
        assert!(!up && said.contains("exit status: 1"), "{said}");
        assert!(
            said.contains("can be reached from other machines") && said.contains(missing),
            "{said}"
        );
        assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
        assert!(serve(&settings, &["--insecure"])?.0);
    }
    assert!(serve(&[cert, key, tokens()], &[])?.0);
    Ok(())
}

/// Starts and ends a server; if it does not start, returns its error.
fn started(mut command: Command) -> Result<(bool, String)> {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("standard output")?).read_line(&mut line)?;
    if line.starts_with("listening on ") {
        child.kill()?;
        child.wait()?;
        return Ok((true, line));
    }
    let output = child.wait_with_output()?;
    Ok((false, format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))))
}
