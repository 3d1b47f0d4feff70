//! Which instructions may be used: decided once, by asking the processor.

use std::fmt;

/// Instruction levels, each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// No vector instructions: the oracle of the others.
    Scalar,
    /// AVX2, FMA, F16C, BMI1, BMI2, LZCNT and POPCNT (x86-64-v3).
    Avx2,
    /// AVX-512 F, BW, DQ, VL (x86-64-v4).
    Avx512,
    /// AVX-512 VBMI and VNNI: byte permutations across two registers, 8-bit inner products (Ice
    /// Lake, Zen 4 and later have both).
    Avx512Vbmi,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Vbmi];

    /// The name for people and for the environment variable that lowers the level in tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vbmi => "avx512vbmi",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Proof that this processor has a level. Only the processor's own answer makes one, so a
/// caller that has one may call the functions of that level: every unsafe call in this crate rests
/// on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd(Level);

impl Simd {
    /// The highest level that this processor has.
    pub fn detect() -> Self {
        Level::ALL.into_iter().rev().find_map(Self::at).unwrap_or(Self(Level::Scalar))
    }

    /// A level, if this processor has it.
    pub fn at(level: Level) -> Option<Self> {
        has(level).then_some(Self(level))
    }

    /// The level.
    pub fn level(self) -> Level {
        self.0
    }

    /// Kernels that have no form for this level and take the definition's, one number at a time;
    /// empty from [`Level::Avx2`] on. A higher level may take the form of a lower one.
    pub fn kernels_without(self) -> &'static [&'static str] {
        match self.0 {
            Level::Scalar => &["choice of lists", "tables", "scan", "scores", "refinement", "sort"],
            _ => &[],
        }
    }

    /// Every level that this processor has, lowest first: what a test runs through.
    pub fn all() -> impl Iterator<Item = Self> {
        Level::ALL.into_iter().filter_map(Self::at)
    }
}

#[cfg(target_arch = "x86_64")]
fn has(level: Level) -> bool {
    match level {
        Level::Scalar => true,
        Level::Avx2 => {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt")
        }
        Level::Avx512 => {
            has(Level::Avx2)
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        }
        Level::Avx512Vbmi => {
            has(Level::Avx512)
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("avx512vbmi2")
                && is_x86_feature_detected!("avx512vnni")
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn has(level: Level) -> bool {
    level == Level::Scalar
}
/// Writes a function that runs `$definition`, compiled once for each level: for loops of which the
/// compiler makes vector instructions by itself. The bits are the definition's at every level,
/// where it fixes the order of each sum.
macro_rules! compiled_for_each_level {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),+) = $definition:ident;) => {
        $(#[$doc])*
        #[inline]
        $vis fn $name(simd: $crate::Simd, $($arg: $type),+) {
            /// # Safety
            /// AVX-512 F, BW, DQ and VL.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn avx512($($arg: $type),+) {
                $definition($($arg),+);
            }

            /// # Safety
            /// AVX2.
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            unsafe fn avx2($($arg: $type),+) {
                $definition($($arg),+);
            }

            match simd.level() {
                #[cfg(target_arch = "x86_64")]
                $crate::Level::Avx512 | $crate::Level::Avx512Vbmi => {
                    // SAFETY: only a processor that has the level makes `simd`.
                    unsafe { avx512($($arg),+) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::Level::Avx2 => {
                    // SAFETY: as above.
                    unsafe { avx2($($arg),+) }
                }
                _ => $definition($($arg),+),
            }
        }
    };
}

pub(crate) use compiled_for_each_level;
