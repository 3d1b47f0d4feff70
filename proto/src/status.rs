//! The one map from error codes to gRPC status.
//!
//! Libraries know nothing of gRPC. Each service converts its library's error code into a [`Code`]
//! in one small `match`; this module makes the gRPC status.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use ocelli_text::printable_bytes;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::v1::{ErrorReason, ItemError};

/// The kind of an error, by which a client can react.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is wrong; the same request will never succeed.
    InvalidArgument,
    /// An index, generation, id or key that does not exist.
    NotFound,
    /// The request is well-formed but does not fit this server's state, for example a query encoded
    /// under another descriptor spec.
    FailedPrecondition,
    /// Stored data is damaged: a checksum or the structure of a file is wrong.
    DataLoss,
    /// A concurrent change won; repeat from the start.
    Aborted,
    /// A queue is full; repeat later.
    ResourceExhausted,
    /// Another service that is needed cannot be reached; repeat later.
    Unavailable,
    /// The client's time is over.
    DeadlineExceeded,
    /// The answer would be larger than a message may be.
    OutOfRange,
    /// A bug or a failing machine.
    Internal,
    /// The client is not known.
    Unauthenticated,
    /// The client is known, and its role does not allow the request.
    PermissionDenied,
}

impl Code {
    /// Every code, for tests that must cover all of them.
    pub const ALL: [Code; 12] = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::FailedPrecondition,
        Code::DataLoss,
        Code::Aborted,
        Code::ResourceExhausted,
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::OutOfRange,
        Code::Internal,
        Code::Unauthenticated,
        Code::PermissionDenied,
    ];

    /// The gRPC code of this code.
    pub fn grpc(self) -> tonic::Code {
        match self {
            Code::InvalidArgument => tonic::Code::InvalidArgument,
            Code::NotFound => tonic::Code::NotFound,
            Code::FailedPrecondition => tonic::Code::FailedPrecondition,
            Code::DataLoss => tonic::Code::DataLoss,
            Code::Aborted => tonic::Code::Aborted,
            Code::ResourceExhausted => tonic::Code::ResourceExhausted,
            Code::Unavailable => tonic::Code::Unavailable,
            Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
            Code::OutOfRange => tonic::Code::OutOfRange,
            Code::Internal => tonic::Code::Internal,
            Code::Unauthenticated => tonic::Code::Unauthenticated,
            Code::PermissionDenied => tonic::Code::PermissionDenied,
        }
    }

    /// The code of a gRPC code, for the answer of another service. Codes that Ocelli's services
    /// never send, for example those of a proxy, are [`Code::Internal`].
    pub fn from_grpc(code: tonic::Code) -> Code {
        Code::ALL.into_iter().find(|ours| ours.grpc() == code).unwrap_or(Code::Internal)
    }
}

/// The most bytes of a status' message. It travels in headers, twice, and a byte may become three
/// there. Clients accept 8 KiB of headers in all.
const MAX_MESSAGE_BYTES: usize = 1024;

/// `message` as it is sent: one short line, with text from outside escaped.
fn sent(message: &str) -> Cow<'_, str> {
    printable_bytes(message, MAX_MESSAGE_BYTES)
}

/// The gRPC status of an error: `code` for programs, `message` (one line) for people.
pub fn status(code: Code, message: impl Into<String>) -> Status {
    Status::new(code.grpc(), sent(&message.into()))
}

/// The domain of the reasons in [`ErrorReason`].
pub const DOMAIN: &str = "ocelli.v1";

/// The prefix of the names of [`ErrorReason`].
const REASON_PREFIX: &str = "ERROR_REASON_";

/// [`status`] with details for programs: the reason as a `google.rpc.ErrorInfo` and, if `field` is
/// not empty, a `google.rpc.BadRequest` that names the wrong field of the request.
pub fn detailed(
    code: Code,
    message: impl Into<String>,
    reason: ErrorReason,
    field: &str,
) -> Status {
    let message = message.into();
    let message = sent(&message).into_owned();
    let mut details = ErrorDetails::with_error_info(reason_name(reason), DOMAIN, HashMap::new());
    if !field.is_empty() {
        details.add_bad_request_violation(field, message.as_str());
    }
    Status::with_error_details(code.grpc(), message, details)
}

/// [`detailed`] with the time after which the same request may be sent again, as a
/// `google.rpc.RetryInfo`.
pub fn retriable(
    code: Code,
    message: impl Into<String>,
    reason: ErrorReason,
    after: Duration,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason_name(reason), DOMAIN, HashMap::new());
    details.set_retry_info(Some(after));
    Status::with_error_details(code.grpc(), sent(&message.into()), details)
}

/// [`detailed`] for one item of a batch or a stream, whose other items are answered.
pub fn item_error(code: Code, message: &str, reason: ErrorReason, field: &str) -> ItemError {
    ItemError {
        code: code.grpc().into(),
        message: sent(message).into_owned(),
        reason: reason.into(),
        field: field.to_owned(),
    }
}

/// The name of a reason for clients and logs, for example `TOKEN_UNKNOWN`.
pub fn reason_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(REASON_PREFIX).unwrap_or(name)
}

/// The reason and the field in the details of a status; without details, an unspecified reason and
/// an empty field.
pub fn reason(status: &Status) -> (ErrorReason, String) {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let named = info
        .and_then(|info| ErrorReason::from_str_name(&format!("{REASON_PREFIX}{}", info.reason)));
    let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
    let field = violation.map_or_else(String::new, |violation| violation.field.clone());
    (named.unwrap_or(ErrorReason::Unspecified), field)
}

/// A gRPC status as one line for people, for example `NOT_FOUND: no image has id 7`.
pub fn describe(status: &Status) -> String {
    let name = name(status.code());
    match status.message() {
        "" => name.to_owned(),
        message => format!("{name}: {}", sent(message)),
    }
}

/// The innermost error behind `error`: "Connection refused" and not "transport error".
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    sent(&cause.to_string()).into_owned()
}

/// The name of a gRPC code as its specification writes it.
pub fn name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::Unknown => "UNKNOWN",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of the gRPC specification, written out: a wrong arm in the map, or two
    /// codes on one number, fails here.
    #[test]
    fn codes_have_the_numbers_of_the_specification() {
        let expected = [3, 5, 9, 15, 10, 8, 14, 4, 11, 13, 16, 7];
        for (code, number) in Code::ALL.into_iter().zip(expected) {
            assert_eq!(code.grpc() as i32, number, "{code:?}");
            assert_eq!(Code::from_grpc(tonic::Code::from_i32(number)), code);
        }
        assert_eq!(Code::from_grpc(tonic::Code::Unimplemented), Code::Internal);
    }

    #[test]
    fn reason_and_field_travel_in_the_details() {
        let made = detailed(Code::InvalidArgument, "k is 0", ErrorReason::FieldInvalid, "k");
        assert_eq!(reason(&made), (ErrorReason::FieldInvalid, "k".to_owned()));
        let info = made.get_error_details().error_info().cloned().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("FIELD_INVALID", "ocelli.v1"));
        let plain = status(Code::NotFound, "no image has id 7");
        assert_eq!(reason(&plain), (ErrorReason::Unspecified, String::new()));
    }

    /// All headers of a status are within 8 KiB, whatever its message.
    #[test]
    fn what_came_from_outside_is_cut_and_escaped() {
        for text in ["k".repeat(6144), "\u{1b}[2J\n".repeat(1 << 20), "塔".repeat(1 << 20)] {
            let message = format!("no image has key {text}");
            let made = [
                status(Code::NotFound, &message),
                detailed(Code::NotFound, &message, ErrorReason::ImageNotFound, "terms"),
                retriable(Code::NotFound, &message, ErrorReason::Overloaded, Duration::ZERO),
            ];
            for status in made {
                let headers = status.clone().into_http::<tonic::body::Body>().headers().clone();
                let bytes: usize = headers.iter().map(|(k, v)| k.as_str().len() + v.len()).sum();
                assert!(bytes < 8 << 10, "{bytes} bytes");
                let end = format!("… ({} bytes)", ocelli_text::thousands(message.len() as u64));
                let shown = status.message();
                assert!(shown.starts_with("no image") && shown.ends_with(&end), "{shown}");
                assert!(!shown.contains(char::is_control), "{shown}");
            }
            let item = item_error(Code::NotFound, &message, ErrorReason::ImageNotFound, "key");
            assert!(item.message.len() < 1100, "{}", item.message);
        }
        // The message of another server is escaped, too.
        let theirs = Status::not_found("a\u{1b}[2J\nb");
        assert_eq!(describe(&theirs), r"NOT_FOUND: a\u{1b}[2J\nb");
    }

    #[test]
    fn a_status_reads_as_one_line() {
        let status = status(Code::NotFound, "no image has id 7");
        assert_eq!(describe(&status), "NOT_FOUND: no image has id 7");
        assert_eq!(describe(&Status::new(tonic::Code::Aborted, "")), "ABORTED");
    }
}
