//! The names that a pickle may use. Everything else is refused by name.

use super::array::Element;

/// A class or function whose meaning is known here. None of them is run: each is carried out by
/// this program's own few lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2` and its predecessor: storage, offset, size, stride.
    Tensor,
    /// `torch._utils._rebuild_parameter`: the tensor inside.
    Parameter,
    /// A storage's class, which says its type.
    Storage(Element),
    /// `torch.Size`: a tuple.
    Size,
    /// Data types and the like that nothing here depends on.
    Opaque,
    /// numpy's `_reconstruct`: an empty array, filled by its state.
    Reconstruct,
    /// numpy's `_frombuffer`: bytes, type, shape, order.
    FromBuffer,
    /// numpy's `scalar`: type, bytes.
    Scalar,
    Ndarray,
    NumpyDtype,
    /// Python 3's `bytes`, by whose name protocol 2 stores an empty one.
    Bytes,
    /// `_codecs.encode`, by which protocol 2 stores bytes as Latin-1 text.
    Encode,
    /// `copyreg._reconstructor`: class, base, state.
    Reconstructor,
    Object,
    /// scikit-learn's PCA, by its places before and since 0.22.
    Pca,
}

impl Known {
    pub(super) fn of(module: &str, name: &str) -> Option<Known> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Known::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Known::Tensor,
            ("torch._utils", "_rebuild_parameter") => Known::Parameter,
            ("torch", "Size") => Known::Size,
            ("torch", "DoubleStorage") => Known::Storage(Element::F64),
            ("torch", "FloatStorage") => Known::Storage(Element::F32),
            ("torch", "HalfStorage") => Known::Storage(Element::F16),
            ("torch", "BFloat16Storage") => Known::Storage(Element::Bf16),
            ("torch", "LongStorage") => Known::Storage(Element::I64),
            ("torch", "IntStorage") => Known::Storage(Element::I32),
            ("torch", "ShortStorage") => Known::Storage(Element::I16),
            ("torch", "CharStorage") => Known::Storage(Element::I8),
            ("torch", "ByteStorage") => Known::Storage(Element::U8),
            ("torch", "BoolStorage") => Known::Storage(Element::Bool),
            ("torch", "device" | "float32" | "float64" | "float16" | "bfloat16" | "int64") => {
                Known::Opaque
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                Known::Reconstruct
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Known::Scalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Known::FromBuffer,
            ("numpy", "ndarray") => Known::Ndarray,
            ("numpy", "dtype") => Known::NumpyDtype,
            ("_codecs", "encode") => Known::Encode,
            ("builtins" | "__builtin__", "bytes" | "str") => Known::Bytes,
            ("copyreg" | "copy_reg", "_reconstructor") => Known::Reconstructor,
            ("builtins" | "__builtin__", "object") => Known::Object,
            ("sklearn.decomposition.pca" | "sklearn.decomposition._pca", "PCA") => Known::Pca,
            _ => return None,
        })
    }
}
