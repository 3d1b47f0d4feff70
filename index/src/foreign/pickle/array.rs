//! Arrays of numbers in a pickle.

use half::{bf16, f16};

/// The type of an array's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// float64.
    F64,
    /// float32.
    F32,
    /// float16.
    F16,
    /// bfloat16.
    Bf16,
    /// int64.
    I64,
    /// int32.
    I32,
    /// int16.
    I16,
    /// int8.
    I8,
    /// uint64.
    U64,
    /// uint32.
    U32,
    /// uint16.
    U16,
    /// uint8.
    U8,
    /// A truth value, a byte each.
    Bool,
}

impl Element {
    /// Bytes of one number.
    pub fn width(self) -> usize {
        match self {
            Element::F64 | Element::I64 | Element::U64 => 8,
            Element::F32 | Element::I32 | Element::U32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 | Element::U16 => 2,
            Element::I8 | Element::U8 | Element::Bool => 1,
        }
    }

    /// Whether these are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Element::F64 | Element::F32 | Element::F16 | Element::Bf16)
    }
}

/// Numbers of one type, row-major, little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The type of the numbers.
    pub element: Element,
    /// Numbers along each axis; any number of axes.
    pub shape: Vec<usize>,
    /// The numbers: the product of the shape times the type's width.
    pub bytes: Vec<u8>,
}

/// Product of a shape; None if it overflows.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n))
}

impl Array {
    /// All numbers as float64, integers rounded to the nearest.
    pub fn to_f64(&self) -> Vec<f64> {
        let bytes = &self.bytes;
        match self.element {
            Element::F64 => each(bytes, f64::from_le_bytes),
            Element::F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Element::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f64()),
            Element::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f64()),
            Element::U64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
            _ => self.to_i64().unwrap_or_default().into_iter().map(|n| n as f64).collect(),
        }
    }

    /// All numbers as int64; None for floating-point numbers, and for one of 2⁶³ or more.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let bytes = &self.bytes;
        Some(match self.element {
            Element::F64 | Element::F32 | Element::F16 | Element::Bf16 => return None,
            Element::I64 => each(bytes, i64::from_le_bytes),
            Element::I32 => each(bytes, |b| i64::from(i32::from_le_bytes(b))),
            Element::I16 => each(bytes, |b| i64::from(i16::from_le_bytes(b))),
            Element::I8 => each(bytes, |b| i64::from(i8::from_le_bytes(b))),
            Element::U64 => each(bytes, |b| i64::try_from(u64::from_le_bytes(b)).ok())
                .into_iter()
                .collect::<Option<_>>()?,
            Element::U32 => each(bytes, |b| i64::from(u32::from_le_bytes(b))),
            Element::U16 => each(bytes, |b| i64::from(u16::from_le_bytes(b))),
            Element::U8 => each(bytes, |[b]| i64::from(b)),
            Element::Bool => each(bytes, |[b]| i64::from(b != 0)),
        })
    }
}

/// `of` each `N` bytes.
fn each<const N: usize, T>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&bytes| of(bytes)).collect()
}
