//! The check before every method: whether the token and the client certificate of a request allow
//! it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tonic::Status;
use tonic::service::Routes;

use super::admins::Admins;
use super::files::Watched;
use super::tokens::{Known, Role, Tokens};
use crate::connections::Peer;
use ocelli_proto::log_limit::LogLimit;
use ocelli_proto::status::{Code, detailed, reason_name, retriable};
use ocelli_proto::v1::ErrorReason;

/// The tokens and client certificates of a server. If it has both, both must allow a request.
pub(super) struct Gate {
    tokens: Option<Arc<Watched<Tokens>>>,
    /// The certificates that may administer; `None`: certificates do not decide that.
    admins: Option<Administrators>,
    refused: LogLimit,
}

/// The client certificates that may administer.
enum Administrators {
    /// The certificates with names in a file.
    Named(Arc<Watched<Admins>>),
    /// No certificate.
    Nobody,
}

/// The role that a method demands; `None`: the method is open. Health is open, because load
/// balancers have no tokens. A service that is not listed here demands the role `admin`.
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
    // Removed, so that nothing behind this check can log the token.
    let header = request.headers_mut().remove(AUTHORIZATION);
    let header = header.as_ref().and_then(|value| value.to_str().ok());
    let certificate = || demanded < Role::Admin || gate.administers(&request);
    match gate.judge(header, demanded, certificate) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            gate.note(&request, refusal.reason);
            refusal.status().into_http()
        }
    }
}

/// A refusal of a request.
struct Refusal {
    code: Code,
    reason: ErrorReason,
    message: String,
    /// The pause after which the request may come again.
    after: Option<Duration>,
}

impl Refusal {
    fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Refusal {
        Refusal { code, reason, message: message.into(), after: None }
    }

    fn status(self) -> Status {
        match self.after {
            Some(after) => retriable(self.code, self.message, self.reason, after),
            None => detailed(self.code, self.message, self.reason, ""),
        }
    }
}

impl Gate {
    /// `None` if there are neither tokens nor client certificates: then every client may do
    /// everything.
    pub(super) fn new(
        tokens: Option<Arc<Watched<Tokens>>>,
        client_certificates: bool,
        admins: Option<Arc<Watched<Admins>>>,
    ) -> Option<Gate> {
        let admins = match admins {
            Some(admins) => Some(Administrators::Named(admins)),
            // Tokens decide.
            None if tokens.is_some() => None,
            None => client_certificates.then_some(Administrators::Nobody),
        };
        let any = tokens.is_some() || admins.is_some();
        any.then(|| Gate { tokens, admins, refused: LogLimit::default() })
    }

    /// `routes` behind this check.
    pub(super) fn protect(self, routes: Routes) -> Routes {
        Routes::from(routes.into_axum_router().layer(from_fn_with_state(Arc::new(self), authorize)))
    }

    /// Whether the client certificate of `request` may administer. It is parsed for each request of
    /// the administration; these are few.
    fn administers(&self, request: &Request) -> bool {
        match &self.admins {
            None => true,
            Some(Administrators::Nobody) => false,
            Some(Administrators::Named(admins)) => {
                let peer = request.extensions().get::<Peer>();
                let certificates = peer.and_then(|peer| peer.certificates.as_ref());
                let own = certificates.and_then(|chain| chain.first());
                own.is_some_and(|own| admins.get().name(own))
            }
        }
    }

    fn judge(
        &self,
        header: Option<&str>,
        demanded: Role,
        certificate: impl FnOnce() -> bool,
    ) -> Result<(), Refusal> {
        let tokens = self.tokens.as_ref().map(|tokens| tokens.get());
        let token = tokens.as_ref().map(|tokens| token(tokens, header, demanded)).transpose()?;
        if !certificate() {
            return Err(Refusal::new(
                Code::PermissionDenied,
                ErrorReason::RoleInsufficient,
                format!(
                    "this client certificate gives the role {}; this method demands {demanded} \
                     (names of administrators are in the server's security.admins_file)",
                    Role::Search
                ),
            ));
        }
        let Some((token, limiter)) = token.and_then(|known| Some((known, known.limiter.as_ref()?)))
        else {
            return Ok(());
        };
        limiter.take().map_err(|after| Refusal {
            after: Some(after),
            ..Refusal::new(
                Code::ResourceExhausted,
                ErrorReason::RateLimited,
                format!(
                    "the token {:?} asks more often than it may; again in {} ms",
                    token.name,
                    after.as_millis() + 1
                ),
            )
        })
    }

    fn note(&self, request: &Request, reason: ErrorReason) {
        let (reason, path, peer) = (reason_name(reason), request.uri().path(), peer(request));
        tracing::debug!(reason, path, ?peer, "refused");
        if let Some(count) = self.refused.count() {
            tracing::warn!(count, reason, path, ?peer, "refused; the last of as many");
        }
    }
}

/// The token in a request's header, if it gives the role that is demanded.
fn token<'a>(
    tokens: &'a Tokens,
    header: Option<&str>,
    demanded: Role,
) -> Result<&'a Known, Refusal> {
    let presented = header.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let Some(presented) = presented else {
        let expected = "expected the header `authorization: Bearer TOKEN`, found none";
        return Err(Refusal::new(Code::Unauthenticated, ErrorReason::TokenMissing, expected));
    };
    match tokens.find(presented) {
        Some(known) if known.role >= demanded => Ok(known),
        Some(Known { name, role, .. }) => Err(Refusal::new(
            Code::PermissionDenied,
            ErrorReason::RoleInsufficient,
            format!("the token {name:?} has the role {role}; this method demands {demanded}"),
        )),
        None => Err(Refusal::new(
            Code::Unauthenticated,
            ErrorReason::TokenUnknown,
            "the token is unknown",
        )),
    }
}

fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.address)
}
