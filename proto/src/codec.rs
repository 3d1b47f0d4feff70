//! Reads and writes messages: prost's codec, with another status for malformed requests.
//!
//! A malformed request is its sender's fault. For prost's codec it is INTERNAL without a reason;
//! for this one it is INVALID_ARGUMENT, and the log has a line.

use std::marker::PhantomData;
use std::sync::LazyLock;

use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec as TonicCodec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::log_limit::LogLimit;
use crate::status::{Code, detailed};
use crate::v1::ErrorReason;

/// The end of the names of all requests; buf's lint checks that. Messages with other names are
/// answers.
const REQUEST: &str = "Request";

/// The limit of log lines about malformed requests, of all connections together.
static LINES: LazyLock<LogLimit> = LazyLock::new(LogLimit::default);

/// Writes messages `T` and reads messages `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Strict<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Strict(ProstCodec::<T, U>::default().decoder())
    }
}

/// Reads messages `U`.
#[derive(Debug)]
pub struct Strict<U>(ProstDecoder<U>);

impl<U: Message + Name + Default> Decoder for Strict<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        self.0.decode(buffer).map_err(|status| malformed(U::NAME, status))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// The status for a body that is not a message called `name`; `found` is prost's status.
fn malformed(name: &str, found: Status) -> Status {
    if !name.ends_with(REQUEST) {
        return found;
    }
    let message = format!("the body is no {name}: {}", found.message());
    if let Some(count) = LINES.count() {
        tracing::warn!(error = message, count, "malformed request");
    }
    detailed(Code::InvalidArgument, message, ErrorReason::FieldInvalid, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::reason;

    #[test]
    fn a_malformed_request_is_its_senders_fault_and_an_answer_is_not() {
        let found = || Status::internal("failed to decode Protobuf message: buffer underflow");
        let status = malformed("SearchRequest", found());
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(reason(&status).0, ErrorReason::FieldInvalid);
        assert!(status.message().contains("no SearchRequest: failed to decode"), "{status}");
        assert_eq!(malformed("SearchResponse", found()).code(), tonic::Code::Internal);
    }
}
