//! Where the time of a network goes.

/// Seconds of each stage of a network's work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NetworkSeconds {
    /// Pixels into the network's input, feature maps or rows out of libtorch.
    pub copy: f64,
    /// The network; on a device its pooling and the wait for it, too.
    pub network: f64,
    /// Pooling, whitening, summing.
    pub pool: f64,
}
