//! Streams of a device, through a shim of a few lines of C++ (`shim.cpp`).
#![allow(unsafe_code, reason = "the shim's functions are foreign")]

use std::ffi::{c_char, c_int};
use std::marker::PhantomData;

use tch::Device;

use crate::error::{Error, Result};

unsafe extern "C" {
    fn ocelli_stream(device: i32, id: *mut i64, error: *mut c_char, room: usize) -> c_int;
    fn ocelli_stream_enter(
        device: i32,
        id: i64,
        before: *mut i64,
        error: *mut c_char,
        room: usize,
    ) -> c_int;
    fn ocelli_stream_wait(device: i32, id: i64, error: *mut c_char, room: usize) -> c_int;
    fn ocelli_device_wait(device: i32, error: *mut c_char, room: usize) -> c_int;
    fn ocelli_exact(error: *mut c_char, room: usize) -> c_int;
}

/// A queue of work of one device, whose order is kept; those of different streams overlap. The CPU
/// has one, on which all work is done when a call returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    device: i32,
    id: i64,
}

/// While it lives, what the calling thread asks of the device goes to the stream. Dropped, it waits
/// until all of that is done, so that no memory is given back, or written anew, that the device
/// still reads.
pub(crate) struct Entered {
    stream: Stream,
    before: i64,
    /// The current stream is the thread's own.
    _stays: PhantomData<*const ()>,
}

impl Stream {
    /// A stream of `device`, of libtorch's pool: there are 32 a device, taken in turn.
    pub(crate) fn new(device: Device) -> Result<Stream> {
        let device = number(device);
        let mut id = 0;
        // SAFETY: `id` and the buffer behind `error` live beyond the call.
        called("taking a stream", |error, room| unsafe {
            ocelli_stream(device, &raw mut id, error, room)
        })?;
        Ok(Stream { device, id })
    }

    /// Makes it the calling thread's current one.
    pub(crate) fn enter(self) -> Result<Entered> {
        let Stream { device, id } = self;
        let mut before = 0;
        called("entering a stream", |error, room| {
            // SAFETY: the stream is one that libtorch gave (streams of its pool are never
            // destroyed); the pointers live beyond the call.
            unsafe { ocelli_stream_enter(device, id, &raw mut before, error, room) }
        })?;
        Ok(Entered { stream: self, before, _stays: PhantomData })
    }

    fn wait(self) -> Result<()> {
        let Stream { device, id } = self;
        called("waiting for a stream", |error, room| {
            // SAFETY: as in `enter`.
            unsafe { ocelli_stream_wait(device, id, error, room) }
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Stream { device, .. } = self.stream;
        let mut unused = 0;
        let ended = self.stream.wait().and_then(|()| {
            called("leaving a stream", |error, room| {
                // SAFETY: `before` is the stream that libtorch said was current; the pointers live
                // beyond the call.
                unsafe { ocelli_stream_enter(device, self.before, &raw mut unused, error, room) }
            })
        });
        // The device can no longer be used; the next operation on it fails too.
        if let Err(error) = ended {
            tracing::error!(%error, "a stream of the device");
        }
    }
}

/// Waits for all that `device` was asked for, on any stream.
pub(crate) fn wait_for(device: Device) -> Result<()> {
    let device = number(device);
    // SAFETY: the buffer behind `error` lives beyond the call.
    called("waiting for the device", |error, room| unsafe {
        ocelli_device_wait(device, error, room)
    })
}

/// Asks libtorch for IEEE float32 and repeatable algorithms on CUDA devices, for this process.
pub(crate) fn exact() -> Result<()> {
    // SAFETY: the buffer behind `error` lives beyond the call.
    called("setting float32's precision", |error, room| unsafe { ocelli_exact(error, room) })
}

/// The shim's number of a device.
fn number(device: Device) -> i32 {
    match device {
        Device::Cuda(number) => i32::try_from(number).unwrap_or(i32::MAX),
        _ => -1,
    }
}

/// Calls a function of the shim with room for its reason.
fn called(op: &'static str, call: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<()> {
    let mut reason = [0u8; 512];
    if call(reason.as_mut_ptr().cast(), reason.len()) == 0 {
        return Ok(());
    }
    let text = reason.split(|&b| b == 0 || b == b'\n').next().unwrap_or_default();
    Err(Error::Torch { op, message: String::from_utf8_lossy(text).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All calls work for the CPU. For a CUDA device that was not opened, libtorch's reason comes
    /// back.
    #[test]
    fn streams_go_through_the_shim() {
        exact().unwrap();
        wait_for(Device::Cpu).unwrap();
        let stream = Stream::new(Device::Cpu).unwrap();
        let outer = stream.enter().unwrap();
        let inner = stream.enter().unwrap();
        assert_eq!(inner.before, stream.id);
        drop(inner);
        drop(outer);
        let error = Stream::new(Device::Cuda(0)).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, Error::Torch { .. }) && text.to_ascii_lowercase().contains("cuda"),
            "{text}"
        );
    }
}
