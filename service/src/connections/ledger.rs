//! Counts the bytes of request bodies in memory, of each connection and of the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::metrics::gauge::Gauge;

use super::{Cause, Connections, Inner};

/// Counts the body bytes of one connection.
pub(super) struct Ledger {
    /// The client's address.
    address: SocketAddr,
    bytes: AtomicI64,
    connections: Connections,
}

impl Ledger {
    pub(super) fn new(address: SocketAddr, connections: &Connections) -> Ledger {
        Ledger { address, bytes: AtomicI64::new(0), connections: connections.clone() }
    }

    fn server(&self) -> &Gauge {
        &self.connections.0.tally.0.body_bytes
    }

    /// Counts bytes that came, or says whose limit they exceed.
    fn add(&self, bytes: i64) -> Result<(), Cause> {
        let limits = &self.connections.0;
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if own + bytes > limits.max_connection_body_bytes {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Cause::ConnectionBytes);
        }
        let all = self.server().inc_by(bytes);
        if all + bytes > limits.max_body_bytes {
            self.remove(bytes);
            return Err(Cause::ServerBytes);
        }
        Ok(())
    }

    fn remove(&self, bytes: i64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.server().dec_by(bytes);
    }
}

/// Bytes that a request, or a message of a stream, has in memory. They count until this is dropped.
pub(crate) struct Charge {
    ledger: Arc<Ledger>,
    bytes: i64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.ledger.remove(self.bytes);
    }
}

/// The bytes of a request's body that count until the request is answered.
pub(crate) struct Held {
    ledger: Arc<Ledger>,
    bytes: AtomicI64,
}

impl Held {
    pub(super) fn new(ledger: Arc<Ledger>) -> Held {
        Held { ledger, bytes: AtomicI64::new(0) }
    }

    /// The client whose request it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.ledger.address
    }

    /// The limits of the server.
    pub(super) fn limits(&self) -> &Inner {
        &self.ledger.connections.0
    }

    /// Counts bytes that came, or says whose limit they exceed.
    pub(super) fn add(&self, bytes: usize) -> Result<(), Cause> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX / 2);
        self.ledger.add(bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the bytes that have come so far; they count until the [`Charge`] is dropped.
    pub(crate) fn take(&self) -> Charge {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        Charge { ledger: Arc::clone(&self.ledger), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.ledger.remove(*self.bytes.get_mut());
    }
}
