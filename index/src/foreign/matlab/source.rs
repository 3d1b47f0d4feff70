//! Elements of a MATLAB file: a tag of type and length, then the data, then bytes up to the next
//! multiple of eight.

use std::io::{self, Read};

/// Bytes that are read in one go; a multiple of the size of every number.
const BLOCK: usize = 64 * 1024;

/// The fault of a file.
#[derive(Debug)]
pub(super) enum Fault {
    /// The operating system refused.
    Io(io::Error),
    /// The bytes are not those of a sound file: expected and found.
    Bytes(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match error.kind() {
            UnexpectedEof => Self::Bytes("it ends within its data".to_owned()),
            // What the decoder of zlib says.
            InvalidData | InvalidInput => Self::Bytes(error.to_string()),
            _ => Self::Io(error),
        }
    }
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self::Bytes(what)
    }
}

pub(super) type Outcome<T> = Result<T, Fault>;

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

/// Type of an element's data, with the names of the format's description.
pub(super) mod kind {
    pub(crate) const INT8: u32 = 1;
    pub(crate) const UINT8: u32 = 2;
    pub(crate) const INT16: u32 = 3;
    pub(crate) const UINT16: u32 = 4;
    pub(crate) const INT32: u32 = 5;
    pub(crate) const UINT32: u32 = 6;
    pub(crate) const SINGLE: u32 = 7;
    pub(crate) const DOUBLE: u32 = 9;
    pub(crate) const INT64: u32 = 12;
    pub(crate) const UINT64: u32 = 13;
    pub(crate) const MATRIX: u32 = 14;
    pub(crate) const COMPRESSED: u32 = 15;
    pub(crate) const UTF8: u32 = 16;
    pub(crate) const UTF16: u32 = 17;
    pub(crate) const UTF32: u32 = 18;
}

/// What stands before an element's data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    /// One of [`kind`].
    pub(super) kind: u32,
    /// Length of the data.
    pub(super) bytes: u64,
    /// The data, where it stands within the tag.
    small: Option<[u8; 4]>,
}

impl Tag {
    /// The same data as of another type.
    pub(super) fn of_kind(self, kind: u32) -> Self {
        Self { kind, ..self }
    }
}

/// Bytes that are read from front to back, as many as an element says and no more.
pub(super) struct Source<R> {
    from: R,
    pub(super) order: Order,
    /// Bytes that were read.
    at: u64,
    /// End of the element that is read.
    end: u64,
    /// The last block.
    block: Vec<u8>,
}

impl<R: Read> Source<R> {
    /// Reads at most `bytes` of `from`.
    pub(super) fn new(from: R, order: Order, bytes: u64) -> Self {
        Self { from, order, at: 0, end: bytes, block: Vec::new() }
    }

    /// Bytes up to the end of the element that is read.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        if self.left() < N as u64 {
            return Err(Fault::Bytes(format!(
                "expected {N} bytes, found the end of an element after {}",
                self.left()
            )));
        }
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// Reads the next tag.
    pub(super) fn tag(&mut self) -> Outcome<Tag> {
        let [a, b, c, d, data @ ..] = self.array::<8>()?;
        let first = self.order.u32([a, b, c, d]);
        let (kind, short) = (first & 0xffff, first >> 16);
        if short != 0 {
            if short > 4 {
                return Err(Fault::Bytes(format!(
                    "expected at most 4 bytes in a tag, not {short}"
                )));
            }
            return Ok(Tag { kind, bytes: u64::from(short), small: Some(data) });
        }
        let bytes = u64::from(self.order.u32(data));
        if bytes > self.left() {
            return Err(Fault::Bytes(format!(
                "an element of {bytes} bytes, where {} are left",
                self.left()
            )));
        }
        Ok(Tag { kind, bytes, small: None })
    }

    /// Reads an element's data in blocks, and moves to the next element.
    pub(super) fn data(
        &mut self,
        tag: Tag,
        mut each: impl FnMut(&[u8]) -> Outcome<()>,
    ) -> Outcome<()> {
        if let Some(small) = tag.small {
            return each(small.get(..tag.bytes as usize).unwrap_or(&small));
        }
        let mut left = tag.bytes;
        while left > 0 {
            let next = left.min(BLOCK as u64) as usize;
            self.block.resize(next, 0);
            self.from.read_exact(&mut self.block)?;
            self.at += next as u64;
            left -= next as u64;
            each(&self.block)?;
        }
        self.pad(tag.bytes)
    }

    /// Moves to the multiple of eight after an element of so many bytes.
    fn pad(&mut self, bytes: u64) -> Outcome<()> {
        let padding = (bytes.next_multiple_of(8) - bytes).min(self.left());
        for _ in 0..padding {
            self.array::<1>()?;
        }
        Ok(())
    }

    /// An element's data, of at most `most` bytes.
    pub(super) fn short(&mut self, tag: Tag, most: u64, what: &str) -> Outcome<Vec<u8>> {
        if tag.bytes > most {
            return Err(Fault::Bytes(format!(
                "{what} of {} bytes, expected at most {most}",
                tag.bytes
            )));
        }
        let mut out = Vec::new();
        self.data(tag, |block| {
            out.extend_from_slice(block);
            Ok(())
        })?;
        Ok(out)
    }

    /// Reads an element of numbers, and hands over one after the other.
    pub(super) fn numbers(&mut self, tag: Tag, mut each: impl FnMut(f64)) -> Outcome<()> {
        let little = self.order == Order::Little;
        /// Reads numbers of one type.
        macro_rules! read {
            ($from:ty, $to:expr) => {{
                const BYTES: usize = size_of::<$from>();
                if tag.bytes % BYTES as u64 != 0 {
                    return Err(Fault::Bytes(format!(
                        "{} bytes are no whole numbers of {BYTES} bytes",
                        tag.bytes
                    )));
                }
                self.data(tag, |block| {
                    for &x in block.as_chunks::<BYTES>().0 {
                        let x = if little {
                            <$from>::from_le_bytes(x)
                        } else {
                            <$from>::from_be_bytes(x)
                        };
                        each($to(x));
                    }
                    Ok(())
                })
            }};
        }
        match tag.kind {
            kind::INT8 => read!(i8, f64::from),
            kind::UINT8 => read!(u8, f64::from),
            kind::INT16 => read!(i16, f64::from),
            kind::UINT16 => read!(u16, f64::from),
            kind::INT32 => read!(i32, f64::from),
            kind::UINT32 => read!(u32, f64::from),
            kind::SINGLE => read!(f32, f64::from),
            kind::DOUBLE => read!(f64, f64::from),
            kind::INT64 => read!(i64, |x| x as f64),
            kind::UINT64 => read!(u64, |x| x as f64),
            other => {
                Err(Fault::Bytes(format!("expected numbers, found an element of type {other}")))
            }
        }
    }

    /// Runs `step` with the next `bytes` as all that there is, and moves to their end.
    pub(super) fn within<T>(
        &mut self,
        tag: Tag,
        step: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<T> {
        if tag.small.is_some() {
            return Err(Fault::Bytes("an array within a tag".to_owned()));
        }
        let outer = self.end;
        self.end = self.at + tag.bytes;
        let result = step(self)?;
        // What follows is of no use here.
        while self.left() > 0 {
            let next = self.left().min(BLOCK as u64) as usize;
            self.block.resize(next, 0);
            self.from.read_exact(&mut self.block)?;
            self.at += next as u64;
        }
        self.end = outer;
        self.pad(tag.bytes)?;
        Ok(result)
    }

    /// Reads to the end of the bytes below, so that their checksum is compared.
    pub(super) fn finish(mut self) -> Outcome<()> {
        let mut rest = [0; 16];
        match self.from.read(&mut rest)? {
            0 => Ok(()),
            _ => Err(Fault::Bytes("bytes follow the array".to_owned())),
        }
    }
}
