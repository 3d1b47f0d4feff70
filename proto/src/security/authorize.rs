//! The gate before every method: who asks, and whether that token may.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tonic::service::Routes;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};

use super::files::Watched;
use super::tokens::{Role, Tokens};
use crate::status::{Code, detailed, reason_name};
use crate::v1::ErrorReason;

/// Refusals make a line of the log as often as this: a client that goes on asking must not fill the disk.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

struct Gate {
    tokens: Arc<Watched<Tokens>>,
    refused: Mutex<Refused>,
}

/// Refusals that no line of the log has told yet.
#[derive(Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

/// `routes` for holders of `tokens`.
pub(super) fn protect(routes: Routes, tokens: Arc<Watched<Tokens>>) -> Routes {
    let gate = Arc::new(Gate { tokens, refused: Mutex::default() });
    Routes::from(routes.into_axum_router().layer(from_fn_with_state(gate, authorize)))
}

/// What a method demands; `None`: nothing. Health is open to load balancers, which hold no secrets; a service that is
/// not known here is for the few.
fn demanded(path: &str) -> Option<Role> {
    match path.strip_prefix('/').and_then(|path| path.split('/').next()) {
        Some("grpc.health.v1.Health") => None,
        Some(
            "ocelli.v1.SearchService"
            | "ocelli.v1.EncoderService"
            | "grpc.reflection.v1.ServerReflection"
            | "grpc.reflection.v1alpha.ServerReflection",
        ) => Some(Role::Search),
        _ => Some(Role::Admin),
    }
}

async fn authorize(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let Some(demanded) = demanded(request.uri().path()) else { return next.run(request).await };
    // Taken out: nothing behind this gate can write it anywhere.
    let header = request.headers_mut().remove(AUTHORIZATION);
    match gate.judge(header.as_ref().and_then(|value| value.to_str().ok()), demanded) {
        Ok(()) => next.run(request).await,
        Err((code, reason, message)) => {
            gate.note(&request, reason);
            detailed(code, message, reason, "").into_http()
        }
    }
}

impl Gate {
    fn judge(
        &self,
        header: Option<&str>,
        demanded: Role,
    ) -> Result<(), (Code, ErrorReason, String)> {
        let refuse = |code, reason, message: &str| Err((code, reason, message.to_owned()));
        let token = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let Some(token) = token else {
            let expected = "expected the header `authorization: Bearer TOKEN`, found none";
            return refuse(Code::Unauthenticated, ErrorReason::TokenMissing, expected);
        };
        match self.tokens.get().find(token) {
            Some((_, role)) if role >= demanded => Ok(()),
            Some((name, role)) => {
                let message = format!(
                    "the token {name:?} has the role {role}; this method demands {demanded}"
                );
                Err((Code::PermissionDenied, ErrorReason::RoleInsufficient, message))
            }
            None => {
                refuse(Code::Unauthenticated, ErrorReason::TokenUnknown, "the token is unknown")
            }
        }
    }

    fn note(&self, request: &Request, reason: ErrorReason) {
        let (reason, path, peer) = (reason_name(reason), request.uri().path(), peer(request));
        tracing::debug!(reason, path, ?peer, "refused");
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.count += 1;
        if refused.told.is_none_or(|told| told.elapsed() >= LOG_INTERVAL) {
            tracing::warn!(
                count = refused.count,
                reason,
                path,
                ?peer,
                "refused; the last of as many"
            );
            *refused = Refused { count: 0, told: Some(Instant::now()) };
        }
    }
}

fn peer(request: &Request) -> Option<SocketAddr> {
    let extensions = request.extensions();
    let plain = extensions.get::<TcpConnectInfo>();
    let tls = || extensions.get::<TlsConnectInfo<TcpConnectInfo>>().map(TlsConnectInfo::get_ref);
    plain.or_else(tls)?.remote_addr()
}
