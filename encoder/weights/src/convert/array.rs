//! Arrays of numbers as files hold them.

use ocelli_index::foreign::pickle::{self, Element};
use safetensors::Dtype;

use super::error::{ConvertError, Result};
use crate::file::floats;

/// Numbers of one type, row-major, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// F64, F32, F16, BF16 or an integer type.
    pub dtype: Dtype,
    /// Any number of axes.
    pub shape: Vec<usize>,
    /// Product of the shape times the type's size.
    pub bytes: Vec<u8>,
}

/// The type of a pickle's numbers.
pub(super) fn dtype_of(element: Element) -> Dtype {
    match element {
        Element::F64 => Dtype::F64,
        Element::F32 => Dtype::F32,
        Element::F16 => Dtype::F16,
        Element::Bf16 => Dtype::BF16,
        Element::I64 => Dtype::I64,
        Element::I32 => Dtype::I32,
        Element::I16 => Dtype::I16,
        Element::I8 => Dtype::I8,
        Element::U64 => Dtype::U64,
        Element::U32 => Dtype::U32,
        Element::U16 => Dtype::U16,
        Element::U8 => Dtype::U8,
        Element::Bool => Dtype::BOOL,
    }
}

/// Product of a shape; None if it overflows.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n))
}

impl Array {
    /// A pickle's array.
    pub(super) fn from_pickle(array: &pickle::Array) -> Array {
        let (dtype, shape) = (dtype_of(array.element), array.shape.clone());
        Array { dtype, shape, bytes: array.bytes.clone() }
    }

    /// float32 numbers; `values` must be as many as the shape says.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Array {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Array { dtype: Dtype::F32, shape, bytes }
    }

    /// From float64, rounded to float32.
    pub fn from_f64(shape: Vec<usize>, values: &[f64]) -> Array {
        let bytes = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        Array { dtype: Dtype::F32, shape, bytes }
    }

    /// Whether these are floating-point numbers.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    /// All numbers as float64.
    ///
    /// # Errors
    /// `Bad` where these are no floating-point numbers.
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        floats(self.dtype, &self.bytes).ok_or_else(|| {
            ConvertError::bad(format!("expected floating-point numbers, found {:?}", self.dtype))
        })
    }
}
