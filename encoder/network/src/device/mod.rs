//! Where the network computes: on the CPU, or on a CUDA device, whose half of libtorch is opened at
//! run time.

mod cuda;
mod host;
mod stream;

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::{Error, Result};
pub(crate) use host::{HostBytes, page_locked};
pub(crate) use stream::{Stream, exact, wait_for};

/// The user's choice of a device: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first CUDA device if there is one, otherwise the CPU.
    Auto,
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of this number, and no other.
    Cuda(usize),
}

/// The device that a network runs on. The device is not part of a descriptor spec, because
/// descriptors of different devices differ in their last digits only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU, each worker for itself.
    #[default]
    Cpu,
    /// The CUDA device of this number, which threads of its own feed: one that
    /// [`DeviceChoice::resolve`] found.
    Cuda(usize),
    /// The CPU, fed as a CUDA device is. It serves tests on machines without a CUDA device.
    CpuAsDevice,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<DeviceChoice, String> {
        let number = |number: &str| number.parse().ok().map(DeviceChoice::Cuda);
        match text {
            "auto" => Some(DeviceChoice::Auto),
            "cpu" => Some(DeviceChoice::Cpu),
            "cuda" => Some(DeviceChoice::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(number),
        }
        .ok_or_else(|| format!("unknown device {text:?}, expected auto, cpu, cuda or cuda:N"))
    }
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu | Device::CpuAsDevice => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl Device {
    /// `cpu` or `cuda`: two devices of one kind make the same bytes, as far as they are of one
    /// model.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Device::Cpu | Device::CpuAsDevice => "cpu",
            Device::Cuda(_) => "cuda",
        }
    }
}

impl DeviceChoice {
    /// Finds the device. Unless the CPU was asked for, this opens libtorch's CUDA half, which has
    /// an effect only before the first call into libtorch: once, at the start of a process.
    ///
    /// # Errors
    /// `Device` where a CUDA device was asked for and is not to be had: what was looked for, what
    /// was found, and how to get it. Never the CPU in its place.
    pub fn resolve(self) -> Result<Device> {
        match self {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Cuda(number) => cuda(number, cuda::devices()),
            DeviceChoice::Auto => Ok(auto(cuda::devices())),
        }
    }
}

/// Of `found`, the number of CUDA devices or the reason why libtorch's CUDA half could not be
/// opened.
fn auto(found: std::result::Result<usize, &str>) -> Device {
    match found {
        Ok(1..) => return Device::Cuda(0),
        // Somebody has set CUDA up, so this is worth a word.
        Ok(0) => tracing::warn!("{NO_DEVICE}; the CPU computes"),
        Err(reason) => tracing::debug!(reason, "no CUDA: the CPU computes"),
    }
    Device::Cpu
}

const NO_DEVICE: &str = "libtorch_cuda.so was opened, but it found no device: expected an NVIDIA \
                         driver for CUDA 13 (580 or later) and a card that CUDA_VISIBLE_DEVICES \
                         does not hide; `nvidia-smi` lists both";

fn cuda(number: usize, found: std::result::Result<usize, &str>) -> Result<Device> {
    let missing = |what: String| Error::Device { device: format!("cuda:{number}"), what };
    match found {
        Ok(0) => Err(missing(NO_DEVICE.to_owned())),
        Ok(devices) if number < devices => Ok(Device::Cuda(number)),
        Ok(devices) => {
            Err(missing(format!("expected a number below {devices}, the number of devices found")))
        }
        Err(reason) => Err(missing(format!(
            "expected the CUDA half of libtorch 2.11.0, which could not be opened ({reason}); \
             `./setup --cuda` fetches it, or name the torch/lib folder of PyTorch 2.11.0 for CUDA \
             13 in LD_LIBRARY_PATH"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        let parse = |text: &str| text.parse::<DeviceChoice>();
        assert_eq!(parse("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(parse("cpu"), Ok(DeviceChoice::Cpu));
        assert_eq!(
            (parse("cuda"), parse("cuda:0")),
            (Ok(DeviceChoice::Cuda(0)), Ok(DeviceChoice::Cuda(0)))
        );
        assert_eq!(parse("cuda:13"), Ok(DeviceChoice::Cuda(13)));
        for bad in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(
                parse(bad).unwrap_err().contains("expected auto, cpu, cuda or cuda:N"),
                "{bad:?}"
            );
        }
        assert_eq!(
            (Device::Cuda(2).to_string(), Device::Cpu.to_string()),
            ("cuda:2".into(), "cpu".into())
        );
    }

    /// What was asked for is had or refused; only `auto` takes the CPU instead.
    #[test]
    fn a_named_device_is_never_replaced() {
        let reason = "x.so: not there";
        assert_eq!(auto(Ok(2)), Device::Cuda(0));
        assert_eq!((auto(Ok(0)), auto(Err(reason))), (Device::Cpu, Device::Cpu));
        assert_eq!(cuda(1, Ok(2)).unwrap(), Device::Cuda(1));
        for (number, found, expected) in [
            (0, Err(reason), ["cuda:0", reason]),
            (0, Ok(0), ["cuda:0", "it found no device"]),
            (2, Ok(2), ["cuda:2", "expected a number below 2"]),
        ] {
            let error = cuda(number, found).unwrap_err().to_string();
            assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
