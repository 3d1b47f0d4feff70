//! Accepts connections.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Cause, PortLabel, Tally};

/// The pause after accepting has failed. Other connections may end in that time.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections at one port, up to a number at a time.
#[derive(Clone)]
pub(crate) struct Door {
    port: &'static str,
    places: Arc<Semaphore>,
    open: Gauge,
    tally: Tally,
}

/// The place of one connection. Dropping it makes room for another connection.
pub(crate) struct Place {
    port: &'static str,
    _permit: OwnedSemaphorePermit,
    open: Gauge,
    tally: Tally,
}

impl Place {
    /// Counts that this connection, or a request of it, was cut off.
    pub(crate) fn cut_off(&self, cause: Cause, peer: SocketAddr) {
        self.tally.cut_off(self.port, cause, &peer);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Door {
    pub(super) fn new(port: &'static str, max: u32, tally: Tally) -> Door {
        let open = tally.0.open.get_or_create(&PortLabel { port }).clone();
        Door { port, places: Arc::new(Semaphore::new(max as usize)), open, tally }
    }

    /// The next connection for which there is a place. A connection without a place is closed. If
    /// no connection can be accepted, for example because the process is out of file descriptors,
    /// this pauses and tries again.
    pub(crate) async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Place) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => match Arc::clone(&self.places).try_acquire_owned() {
                    Ok(permit) => {
                        // Without it a connection is merely slower.
                        let _ = socket.set_nodelay(true);
                        self.open.inc();
                        let (open, tally) = (self.open.clone(), self.tally.clone());
                        let place = Place { port: self.port, _permit: permit, open, tally };
                        return (socket, peer, place);
                    }
                    Err(_) => self.tally.cut_off(self.port, Cause::Full, &peer),
                },
                // The client has gone.
                Err(error) if gone(error.kind()) => {}
                Err(error) => {
                    self.tally.cut_off(self.port, Cause::Descriptors, &error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn gone(kind: ErrorKind) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(kind, ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// `max`, or seven eighths of the open files that the process may have, if that is less. The last
/// eighth is for everything else.
pub(super) fn within_descriptors(max: u32) -> u32 {
    use procfs::process::{LimitValue, Process};
    let limits = Process::myself().and_then(|process| process.limits());
    let Ok(LimitValue::Value(files)) = limits.map(|limits| limits.max_open_files.soft_limit) else {
        return max;
    };
    let most = u32::try_from(files - files / 8).unwrap_or(u32::MAX).max(1);
    if most < max {
        tracing::warn!(
            wanted = max,
            connections = most,
            files,
            "fewer connections than connections.max: the process may not have so many open files \
             (ulimit -n)"
        );
    }
    most.min(max)
}
