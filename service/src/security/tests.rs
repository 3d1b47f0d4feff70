//! Real servers and real clients, over TCP and TLS.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::tokens::draw;
use super::*;
use crate::client::ClientSecurity;
use crate::connections::ConnectionsConfig;
use crate::server::Server;
use ocelli_proto::status::reason;
use ocelli_proto::v1::admin_service_client::AdminServiceClient;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_proto::v1::{ErrorReason, GetStatusRequest, SearchRequest};
use ocelli_test_support::Authority;

fn plain() -> SecurityConfig {
    SecurityConfig {
        insecure: false,
        tls_cert: PathBuf::new(),
        tls_key: PathBuf::new(),
        tls_client_ca: PathBuf::new(),
        admins_file: PathBuf::new(),
        expiry_warning_days: 14,
        tokens_file: PathBuf::new(),
        reload_interval_ms: 20,
    }
}

/// A server without services of its own: a call that passes the check is UNIMPLEMENTED.
struct Running {
    port: u16,
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<Result<()>>,
}

impl Running {
    async fn start(config: &SecurityConfig) -> Result<Running> {
        let server = Server::bind("127.0.0.1:0").await?.secured(Security::open(config)?)?;
        let port = server.address().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let serve = server.serve(Routes::default(), &[], Duration::from_secs(1), stopped);
        Ok(Running { port, _stop: stop, _task: tokio::spawn(serve) })
    }

    /// Codes and reasons of a search and of an administrator's call.
    async fn ask(&self, scheme: &str, client: &ClientSecurity) -> Result<[Answer; 2]> {
        let (endpoint, bearer) = client.endpoint(&format!("{scheme}://127.0.0.1:{}", self.port))?;
        let channel = endpoint.connect().await?;
        let mut search = SearchServiceClient::with_interceptor(channel.clone(), bearer.clone());
        let mut admin = AdminServiceClient::with_interceptor(channel, bearer);
        let answer = |status: Status| (status.code(), reason(&status).0);
        let searched = search.search(SearchRequest::default()).await.map(drop);
        let status = admin.get_status(GetStatusRequest {}).await.map(drop);
        Ok([searched, status].map(|result| answer(result.expect_err("no such service"))))
    }

    /// Whether a client without the right certificate is refused. With TLS 1.3 a client believes
    /// that it is connected before its certificate is judged: a refusal is a failed connection or a
    /// failed call.
    async fn keeps_out(&self, scheme: &str, client: &ClientSecurity) -> bool {
        let answers = self.ask(scheme, client).await;
        answers.is_err()
            || answers.is_ok_and(|answers| answers.iter().all(|(code, _)| *code != THROUGH.0))
    }

    /// [`Running::ask`] by TLS until it is `wanted`.
    async fn ask_until(&self, client: &ClientSecurity, wanted: [Answer; 2]) -> Result<()> {
        self.ask_until_at("https", client, wanted).await
    }

    async fn ask_until_at(
        &self,
        scheme: &str,
        client: &ClientSecurity,
        wanted: [Answer; 2],
    ) -> Result<()> {
        for _ in 0..500 {
            if self.ask(scheme, client).await.is_ok_and(|answers| answers == wanted) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("{:?} in place of {wanted:?}", self.ask(scheme, client).await)
    }
}

type Answer = (Code, ErrorReason);

const THROUGH: Answer = (Code::Unimplemented, ErrorReason::Unspecified);
const MISSING: Answer = (Code::Unauthenticated, ErrorReason::TokenMissing);
const UNKNOWN: Answer = (Code::Unauthenticated, ErrorReason::TokenUnknown);
const LIMITED: Answer = (Code::ResourceExhausted, ErrorReason::RateLimited);
const FORBIDDEN: Answer = (Code::PermissionDenied, ErrorReason::RoleInsufficient);

#[tokio::test]
async fn tokens_open_what_their_role_allows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let nobody = ClientSecurity::default();
    let open = Running::start(&plain()).await?;
    assert_eq!(open.ask("http", &nobody).await?, [THROUGH, THROUGH]);

    let reader = draw("reader", Role::Search, &path("reader"))?;
    let operator = draw("operator", Role::Admin, &path("operator"))?;
    draw("stranger", Role::Admin, &path("stranger"))?;
    std::fs::write(path("tokens"), format!("# who\n\n{reader}{operator}"))?;
    let tokens_file = path("tokens");
    let server = Running::start(&SecurityConfig { tokens_file, ..plain() }).await?;
    let with = |name: &str| ClientSecurity { token_file: path(name), ..Default::default() };
    assert_eq!(server.ask("http", &with("reader")).await?, [THROUGH, FORBIDDEN]);
    assert_eq!(server.ask("http", &with("operator")).await?, [THROUGH, THROUGH]);
    assert_eq!(server.ask("http", &with("stranger")).await?, [UNKNOWN, UNKNOWN]);
    assert_eq!(server.ask("http", &nobody).await?, [MISSING, MISSING]);
    let hash = reader.split_whitespace().last().context("a hash")?;
    std::fs::write(path("hash"), hash)?;
    assert_eq!(
        server.ask("http", &with("hash")).await?,
        [UNKNOWN, UNKNOWN],
        "a hash opens nothing"
    );

    // Health needs no token; reflection does.
    let (endpoint, _) = nobody.endpoint(&format!("http://127.0.0.1:{}", server.port))?;
    let channel = endpoint.connect().await?;
    let mut health = HealthClient::new(channel.clone());
    health.check(HealthCheckRequest { service: String::new() }).await?;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let mut reflection = ServerReflectionClient::new(channel);
    let asked = reflection.server_reflection_info(tokio_stream::empty()).await;
    assert_eq!(asked.expect_err("no token").code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn certificates_are_judged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let (first, second) = (Authority::new("first")?, Authority::new("second")?);
    let (tls_cert, tls_key) = first.issue(path, "server")?;
    let (first_ca, second_ca) = (first.write(path.join("1.ca"))?, second.write(path.join("2.ca"))?);
    let trusting = |ca: &PathBuf| ClientSecurity { tls_ca: ca.clone(), ..Default::default() };
    let config = SecurityConfig { tls_cert, tls_key, ..plain() };

    let server = Running::start(&config).await?;
    assert_eq!(server.ask("https", &trusting(&first_ca)).await?, [THROUGH, THROUGH]);
    assert!(server.keeps_out("https", &trusting(&second_ca)).await, "a foreign authority");
    assert!(server.keeps_out("http", &ClientSecurity::default()).await, "no TLS");

    // Client certificates: none, one of another authority, and the right one.
    let mutual = SecurityConfig { tls_client_ca: second_ca.clone(), ..config };
    let mutual = Running::start(&mutual).await?;
    assert!(mutual.keeps_out("https", &trusting(&first_ca)).await);
    let with = |(tls_cert, tls_key)| ClientSecurity { tls_cert, tls_key, ..trusting(&first_ca) };
    assert!(mutual.keeps_out("https", &with(first.issue(path, "wrong")?)).await);
    // A certificate gives only the role `search`.
    let right = with(second.issue(path, "right")?);
    assert_eq!(mutual.ask("https", &right).await?, [THROUGH, FORBIDDEN]);
    Ok(())
}

/// A file gives the role `admin` to common names, DNS names and URIs. The file is changed, and
/// tokens are added.
#[tokio::test]
async fn certificates_administer_where_a_file_names_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let authority = Authority::new("one")?;
    let (tls_cert, tls_key) = authority.issue(path, "server")?;
    let tls_ca = authority.write(path.join("ca"))?;
    let admins_file = path.join("admins");
    std::fs::write(
        &admins_file,
        "# who\n\ncn Ops Team\ndns ops.example.org\nuri spiffe://example.org/ops#1\n",
    )?;
    let config = SecurityConfig {
        tls_cert,
        tls_key,
        tls_client_ca: tls_ca.clone(),
        admins_file: admins_file.clone(),
        ..plain()
    };
    let server = Running::start(&config).await?;
    let mut number = 0;
    let mut client = |common: &str, names: &[&str]| -> Result<ClientSecurity> {
        number += 1;
        let issued = authority.issue_named(path, &format!("client-{number}"), common, names)?;
        let (tls_cert, tls_key) = issued;
        Ok(ClientSecurity { tls_ca: tls_ca.clone(), tls_cert, tls_key, ..Default::default() })
    };
    for (common, names, admin) in [
        ("Ops Team", &[][..], true),
        ("x", &["other.example.org", "ops.example.org"], true),
        ("x", &["spiffe://example.org/ops#1"], true),
        ("ops team", &["ops.example.org.evil.example"], false),
        ("ops.example.org", &["spiffe://example.org/ops"], false),
        ("x", &["*.example.org", "spiffe://ops.example.org"], false),
    ] {
        let expected = [THROUGH, if admin { THROUGH } else { FORBIDDEN }];
        assert_eq!(
            server.ask("https", &client(common, names)?).await?,
            expected,
            "{common} {names:?}"
        );
    }

    // A malformed file changes nothing. A removed name loses the role, also on open connections.
    let ops = client("Ops Team", &[])?;
    std::fs::write(&admins_file, "Ops Team\n")?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.ask("https", &ops).await?, [THROUGH, THROUGH]);
    std::fs::write(&admins_file, "# nobody\n")?;
    server.ask_until(&ops, [THROUGH, FORBIDDEN]).await?;

    // Beside tokens, both must allow it.
    std::fs::write(&admins_file, "cn Ops Team\n")?;
    let (reader, operator) = (path.join("reader"), path.join("operator"));
    let mut lines = draw("reader", Role::Search, &reader)?;
    lines.push_str(&draw("operator", Role::Admin, &operator)?);
    std::fs::write(path.join("tokens"), lines)?;
    let config = SecurityConfig { tokens_file: path.join("tokens"), ..config };
    let both = Running::start(&config).await?;
    let other = client("x", &[])?;
    for (certificate, token, expected) in [
        (&ops, &operator, [THROUGH, THROUGH]),
        (&ops, &reader, [THROUGH, FORBIDDEN]),
        (&other, &operator, [THROUGH, FORBIDDEN]),
    ] {
        let client = ClientSecurity { token_file: token.clone(), ..certificate.clone() };
        assert_eq!(both.ask("https", &client).await?, expected);
    }
    assert_eq!(both.ask("https", &ops).await?, [MISSING, MISSING]);
    let by_token =
        Running::start(&SecurityConfig { admins_file: PathBuf::new(), ..config }).await?;
    let client = ClientSecurity { token_file: operator, ..other };
    assert_eq!(by_token.ask("https", &client).await?, [THROUGH, THROUGH]);
    Ok(())
}

/// A token with a limit gets its burst, then requests at its rate, and the time to wait. Other
/// tokens are not delayed, and a new reading of the file gives no new burst.
#[tokio::test]
async fn a_token_asks_no_more_often_than_it_may() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let limited = draw("limited", Role::Search, &path("limited"))?;
    let free = draw("free", Role::Search, &path("free"))?;
    let file = |more: &str| format!("{} rate_per_s=0.01 burst=3\n{free}{more}", limited.trim());
    std::fs::write(path("tokens"), file(""))?;
    let server = Running::start(&SecurityConfig { tokens_file: path("tokens"), ..plain() }).await?;
    let with = |name: &str| ClientSecurity { token_file: path(name), ..Default::default() };
    let ask = async |name: &str| -> Result<Status> {
        let (endpoint, bearer) =
            with(name).endpoint(&format!("http://127.0.0.1:{}", server.port))?;
        let mut client = SearchServiceClient::with_interceptor(endpoint.connect().await?, bearer);
        let asked = client.search(SearchRequest::default()).await;
        Ok(asked.expect_err("no such service"))
    };
    for _ in 0..3 {
        assert_eq!(ask("limited").await?.code(), Code::Unimplemented);
    }
    let refused = async || -> Result<()> {
        let status = ask("limited").await?;
        assert_eq!((status.code(), reason(&status).0), LIMITED, "{status}");
        let details = tonic_types::StatusExt::get_error_details(&status);
        let after = details.retry_info().and_then(|info| info.retry_delay).context("when")?;
        assert!((1..=100).contains(&after.as_secs()), "{after:?}");
        Ok(())
    };
    refused().await?;
    for _ in 0..10 {
        assert_eq!(ask("free").await?.code(), Code::Unimplemented);
    }
    // The new token shows that the file was read.
    let new = draw("new", Role::Search, &path("new"))?;
    std::fs::write(path("tokens"), file(&new))?;
    server.ask_until_at("http", &with("new"), [THROUGH, FORBIDDEN]).await?;
    refused().await?;

    // Other limits are new ones.
    std::fs::write(path("tokens"), file("").replace("burst=3", "burst=500"))?;
    server.ask_until_at("http", &with("new"), [UNKNOWN, UNKNOWN]).await?;
    assert_eq!(ask("limited").await?.code(), Code::Unimplemented);
    Ok(())
}

/// A rate high enough for the test to wait for.
#[tokio::test]
async fn a_rate_gives_again_what_time_brings() -> Result<()> {
    let rate = rate::Rate::parse(&["rate_per_s=20", "burst=2"])?.context("a rate")?;
    let limiter = rate::Limiter::new(rate).context("a limiter")?;
    assert_eq!((limiter.take(), limiter.take()), (Ok(()), Ok(())));
    let after = limiter.take().expect_err("the burst is used up");
    assert!(after <= Duration::from_millis(50), "{after:?}");
    tokio::time::sleep(after + Duration::from_millis(1)).await;
    assert_eq!(limiter.take(), Ok(()));
    Ok(())
}

/// The ends of certificates in the log and in a registry.
#[tokio::test]
async fn ends_of_certificates_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new("one")?;
    let soon = SystemTime::now() + Duration::from_secs(3 * 86_400 + 600);
    let (tls_cert, tls_key) = authority.issue_until(folder.path(), "server", soon)?;
    let tls_client_ca = authority.write(folder.path().join("ca"))?;
    let config = SecurityConfig { tls_cert, tls_key, tls_client_ca, ..plain() };
    let security = Security::open(&config)?;
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(security.certificates()));
    let text = || -> Result<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    };
    let unix = |time: SystemTime| -> Result<u64> {
        Ok(time.duration_since(std::time::UNIX_EPOCH)?.as_secs())
    };
    let gauge = "ocelli_certificate_expiry_timestamp_seconds";
    let line = |at: u64| format!("{gauge}{{certificate=\"server\"}} {at}\n");
    assert!(text()?.contains(&line(unix(soon)?)), "{}", text()?);
    assert!(text()?.contains(&format!("{gauge}{{certificate=\"client_ca\"}} ")), "{}", text()?);

    // Replaced: the gauge follows.
    let later = soon + Duration::from_secs(86_400);
    authority.issue_until(folder.path(), "server", later)?;
    security.tls().context("TLS")?.look();
    assert!(text()?.contains(&line(unix(later)?)), "{}", text()?);
    Ok(())
}

#[tokio::test]
async fn certificates_and_tokens_are_replaced_while_it_serves() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let (first, second) = (Authority::new("first")?, Authority::new("second")?);
    let (tls_cert, tls_key) = first.issue(path, "server")?;
    let (first_ca, second_ca) = (first.write(path.join("1.ca"))?, second.write(path.join("2.ca"))?);
    let (token_file, tokens_file) = (path.join("old"), path.join("tokens"));
    std::fs::write(&tokens_file, draw("old", Role::Admin, &token_file)?)?;
    let client = |tls_ca: &PathBuf, token: &str| {
        let (tls_ca, token_file) = (tls_ca.clone(), path.join(token));
        ClientSecurity { tls_ca, token_file, ..Default::default() }
    };
    let config = SecurityConfig { tls_cert, tls_key, tokens_file, ..plain() };
    let server = Running::start(&config).await?;
    server.ask_until(&client(&first_ca, "old"), [THROUGH, THROUGH]).await?;

    // A malformed file changes nothing.
    second.issue(path, "next")?;
    for (file, contents) in [
        ("server.pem", std::fs::read(path.join("next.pem"))?),
        ("server.pem", vec![]),
        ("tokens", vec![]),
        ("tokens", b"old admin 00".to_vec()),
    ] {
        let before = std::fs::read(path.join(file))?;
        std::fs::write(path.join(file), contents)?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answers = server.ask("https", &client(&first_ca, "old")).await?;
        assert_eq!(answers, [THROUGH, THROUGH], "{file}");
        std::fs::write(path.join(file), before)?;
    }
    std::fs::remove_file(path.join("tokens"))?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.ask_until(&client(&first_ca, "old"), [THROUGH, THROUGH]).await?;

    // New files are in use without a restart, and the old ones are not.
    std::fs::write(path.join("tokens"), draw("new", Role::Search, &path.join("new"))?)?;
    server.ask_until(&client(&first_ca, "new"), [THROUGH, FORBIDDEN]).await?;
    server.ask_until(&client(&first_ca, "old"), [UNKNOWN, UNKNOWN]).await?;
    std::fs::copy(path.join("next.pem"), path.join("server.pem"))?;
    std::fs::copy(path.join("next.key"), path.join("server.key"))?;
    server.ask_until(&client(&second_ca, "new"), [THROUGH, FORBIDDEN]).await?;
    assert!(server.keeps_out("https", &client(&first_ca, "new")).await, "the old one is gone");
    Ok(())
}

/// With more silent clients than handshakes at a time, others are answered long before those give
/// up.
#[tokio::test]
async fn silent_clients_hold_nobody_up() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new("one")?;
    let (tls_cert, tls_key) = authority.issue(folder.path(), "server")?;
    let tls_ca = authority.write(folder.path().join("ca.pem"))?;
    let server = Running::start(&SecurityConfig { tls_cert, tls_key, ..plain() }).await?;
    let mut silent = Vec::new();
    for _ in 0..tls::MAX_HANDSHAKES + 50 {
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await;
        silent.push(socket.context("as many open files as this must be allowed")?);
    }
    let client = ClientSecurity { tls_ca, ..Default::default() };
    let timeout_ms = ConnectionsConfig::default().handshake_timeout_ms;
    let in_time = Duration::from_millis(timeout_ms / 2);
    let asked = tokio::time::timeout(in_time, server.ask("https", &client)).await;
    assert_eq!(asked.context("in time")??, [THROUGH, THROUGH]);
    Ok(())
}

#[test]
fn an_address_that_others_reach_needs_tls_and_a_gate() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (tls_cert, tls_key) = Authority::new("one")?.issue(folder.path(), "server")?;
    let tokens_file = folder.path().join("tokens");
    std::fs::write(&tokens_file, draw("a", Role::Search, &folder.path().join("a"))?)?;
    let tls = SecurityConfig { tls_cert: tls_cert.clone(), tls_key, ..plain() };
    let tokens = SecurityConfig { tokens_file: tokens_file.clone(), ..plain() };
    let both = SecurityConfig { tokens_file, ..tls.clone() };
    let client_ca = SecurityConfig { tls_client_ca: tls_cert, ..tls.clone() };
    let forced = SecurityConfig { insecure: true, ..plain() };
    for (config, missing) in [
        (&plain(), Some("tls_key) and tokens")),
        (&tls, Some("client certificates")),
        (&tokens, Some("TLS")),
        (&both, None),
        (&client_ca, None),
        (&forced, None),
    ] {
        let security = Security::open(config)?;
        for loopback in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            security.allows(loopback.parse()?)?;
        }
        for beyond in
            ["192.0.2.1:7070", "0.0.0.0:1", "[::]:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:1"]
        {
            match (security.allows(beyond.parse()?), missing) {
                (Ok(()), None) => {}
                (Err(error), Some(missing)) => {
                    let text = error.to_string();
                    assert!(text.contains(missing) && text.contains("--insecure"), "{text}");
                }
                (result, _) => panic!("{config:?} {beyond}: {result:?}"),
            }
        }
    }
    Ok(())
}

/// Errors name the fault and contain no secret.
#[test]
fn what_makes_no_sense_is_refused_without_secrets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let line = draw("a", Role::Search, &path("a.token"))?;
    let token = std::fs::read_to_string(path("a.token"))?.trim().to_owned();
    let hash = line.split_whitespace().last().context("a hash")?;
    assert_eq!(line, format!("a search {hash}\n"));
    assert!(token.len() == 7 + 64 && hash.len() == 64);
    assert_eq!(
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path("a.token"))?) & 0o777,
        0o600
    );
    let again = draw("b", Role::Search, &path("a.token")).expect_err("the token would be lost");
    assert!(format!("{again:#}").contains("a.token"), "{again:#}");
    assert_eq!(std::fs::read_to_string(path("a.token"))?.trim(), token);
    assert!(
        draw("two words", Role::Search, &path("b.token")).is_err() && !path("b.token").exists()
    );
    assert_ne!(draw("a", Role::Search, &path("c.token"))?, line);

    let upper = hash.to_uppercase();
    for (text, expected) in [
        (format!("a search {token}\n"), "line 1: expected SHA-256"),
        (format!("a search {}\n", &hash[1..]), "line 1: expected SHA-256"),
        (format!("a search g{}\n", &hash[1..]), "line 1: expected SHA-256"),
        (format!("a {token} {hash}\n"), "line 1: expected search or admin"),
        (format!("# {token}\n\n{token}\n"), "line 3: expected NAME ROLE SHA256"),
        (format!("{token}! search {hash}\n"), "line 1: expected a name"),
        (format!("a search {hash} {token}\n"), "line 1: expected rate_per_s=N and burst=N after"),
        (format!("a search {hash} rate_per_s=many\n"), "line 1: expected a number"),
        (format!("a search {hash} rate_per_s=NaN\n"), "line 1: expected a rate"),
        (format!("a search {hash} rate_per_s=0\n"), "line 1: expected a rate"),
        (format!("a search {hash} rate_per_s=1 rate_per_s=2\n"), "each once"),
        (format!("a search {hash} rate_per_s=1 burst=0\n"), "line 1: expected a burst"),
        (
            format!("a search {hash} burst=1\n"),
            "line 1: expected rate_per_s=N together with burst=N",
        ),
        (
            format!("a search {hash}\na admin {}\n", "0".repeat(64)),
            "line 2: the name a is already used in line 1",
        ),
        (
            format!("a search {hash}\nb admin {upper}\n"),
            "line 2: the token of b is already used in line 1",
        ),
        (format!("# {token}\n"), "at least one token"),
    ] {
        std::fs::write(path("tokens"), &text)?;
        let config = SecurityConfig { tokens_file: path("tokens"), ..plain() };
        let error = format!("{:#} {config:?}", Security::open(&config).expect_err(expected));
        assert!(error.contains(expected) && error.contains("tokens"), "{error}");
        assert!(!error.contains(&token) && !error.contains(hash), "{error}");
    }

    let authority = Authority::new("one")?;
    let (cert, _) = authority.issue(folder.path(), "a")?;
    let (_, key) = authority.issue(folder.path(), "b")?;
    let error = |tls_cert: &PathBuf, tls_key: &PathBuf| {
        let config =
            SecurityConfig { tls_cert: tls_cert.clone(), tls_key: tls_key.clone(), ..plain() };
        format!("{:#}", Security::open(&config).expect_err("no sense"))
    };
    assert!(error(&cert, &PathBuf::new()).contains("both or neither"));
    let text = error(&cert, &key);
    assert!(text.contains("a.pem with the key") && text.contains("b.key"), "{text}");
    assert!(error(&key, &cert).contains("expected certificates in PEM"));
    assert!(error(&cert, &cert).contains("expected a private key in PEM"));
    assert!(error(&path("no"), &key).contains("cannot read"));
    Ok(())
}
