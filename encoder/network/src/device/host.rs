//! Memory of the host that a device reads and writes by itself.
#![allow(unsafe_code, reason = "filling a tensor's memory in place")]

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// Bytes that are filled here and copied by a device. For a CUDA device they are page-locked
/// ("pinned"): then the copy runs by itself, beside the device's computing and this machine's, at
/// the full rate of the bus.
pub(crate) struct HostBytes {
    device: Device,
    /// (capacity,) u8, contiguous; this handle is the only one between two calls.
    tensor: Option<Tensor>,
    len: usize,
}

impl HostBytes {
    pub(crate) fn new(device: Device) -> HostBytes {
        HostBytes { device, tensor: None, len: 0 }
    }

    /// `len` bytes to be filled. Locking pages takes milliseconds, so that memory is kept for the
    /// next time and grows only.
    pub(crate) fn resize(&mut self, len: usize) -> Result<&mut [u8]> {
        let enough = |tensor: &&Tensor| tensor.numel() >= len;
        if self.tensor.as_ref().filter(enough).is_none() {
            self.tensor = None;
            self.tensor = Some(
                page_locked(len.max(1), Kind::Uint8, self.device)
                    .map_err(Error::torch("page-locked memory"))?,
            );
        }
        self.len = len;
        let Some(tensor) = &self.tensor else { return Ok(&mut []) };
        let first = tensor.data_ptr().cast::<u8>();
        // SAFETY: the tensor is contiguous, of bytes, on the host, and holds at least `len` of
        // them, as just made sure, all written when it was made. No other handle on its memory is
        // in use: views are dropped before this is called again, when the device's stream has been
        // waited for. The slice borrows `self`.
        Ok(unsafe { std::slice::from_raw_parts_mut(first, len) })
    }

    /// The bytes that were filled, (`len`,) u8, as a view that shares the memory.
    pub(crate) fn view(&self) -> std::result::Result<Tensor, tch::TchError> {
        match &self.tensor {
            Some(tensor) => tensor.f_narrow(0, 0, self.len as i64),
            None => Tensor::f_zeros([0], (Kind::Uint8, Device::Cpu)),
        }
    }
}

/// Zeros in host memory from which, and into which, `device` copies best.
pub(crate) fn page_locked(
    len: usize,
    kind: Kind,
    device: Device,
) -> std::result::Result<Tensor, tch::TchError> {
    let tensor = Tensor::f_zeros([len as i64], (kind, Device::Cpu))?;
    if device.is_cuda() { tensor.f_pin_memory(device) } else { Ok(tensor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_that_were_filled() {
        let mut bytes = HostBytes::new(Device::Cpu);
        assert_eq!(bytes.view().unwrap().numel(), 0);
        for filled in [&[1u8, 2, 3][..], &[9, 8], &[4; 100], &[]] {
            bytes.resize(filled.len()).unwrap().copy_from_slice(filled);
            assert_eq!(Vec::<u8>::try_from(&bytes.view().unwrap()).unwrap(), filled);
        }
    }
}
