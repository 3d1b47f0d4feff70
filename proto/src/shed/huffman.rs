//! The Huffman code of HPACK (RFC 7541, appendix B), to be read only.
//!
//! The code is canonical: sorted by length and symbol, codes count upwards. So the lengths are all that there is to
//! know.

use std::sync::LazyLock;

/// Bits of the code of each byte, and of the end.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
/// The longest code.
const MAX_BITS: usize = 30;
/// The symbol of the end, which no string contains.
const END: u16 = 256;

/// What there is of each length.
#[derive(Clone, Copy, Default)]
struct Level {
    /// The first code of this length, and how many there are.
    first: u32,
    count: u32,
    /// Where their symbols begin in [`Code::symbols`].
    at: u32,
}

struct Code {
    levels: [Level; MAX_BITS + 1],
    symbols: Vec<u16>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut levels = [Level::default(); MAX_BITS + 1];
    let mut symbols = Vec::with_capacity(LENGTHS.len());
    let mut first = 0;
    for (bits, level) in levels.iter_mut().enumerate().skip(1) {
        first <<= 1;
        let at = symbols.len() as u32;
        let of_length = (0u16..).zip(LENGTHS).filter(|(_, length)| usize::from(*length) == bits);
        symbols.extend(of_length.map(|(symbol, _)| symbol));
        let count = symbols.len() as u32 - at;
        *level = Level { first, count, at };
        first += count;
    }
    Code { levels, symbols }
});

/// The bytes that `coded` stands for; `None` where it is no such code.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let Code { levels, symbols } = &*CODE;
    let mut out = Vec::with_capacity(coded.len() * 8 / 5);
    let (mut code, mut bits) = (0u32, 0usize);
    for byte in coded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            let level = levels.get(bits)?;
            let place = code.wrapping_sub(level.first);
            if place < level.count {
                let symbol = *symbols.get((level.at + place) as usize)?;
                if symbol == END {
                    return None;
                }
                out.push(symbol as u8);
                (code, bits) = (0, 0);
            }
        }
    }
    // What is left fills a byte with the beginning of the end's code, which is ones.
    (bits < 8 && code == (1 << bits) - 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
    }

    /// The examples of RFC 7541, appendix C.
    #[test]
    fn the_examples_of_the_specification_are_read() {
        for (coded, expected) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            ("9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3", "https://www.example.com"),
            ("6402", "302"),
            ("640e ff", "307"),
            ("", ""),
        ] {
            assert_eq!(decode(&bytes(coded)).as_deref(), Some(expected.as_bytes()), "{expected}");
        }
    }

    #[test]
    fn what_is_no_code_is_refused() {
        assert_eq!(decode(&[0xff; 4]), None, "the end itself");
        assert_eq!(
            decode(&bytes("f1e3 c2e5 f23a 6ba0 ab90 f4ff ff")),
            None,
            "a whole byte of filling"
        );
        assert_eq!(decode(&[0b0000_0000]), None, "filling that is not ones");
    }

    /// Every byte has a code, whatever its length: what is coded by the same table comes back.
    #[test]
    fn every_byte_comes_back() {
        let mut codes = [(0u32, 0u8); 257];
        for (bits, level) in CODE.levels.iter().enumerate() {
            for place in 0..level.count {
                let symbol = CODE.symbols[(level.at + place) as usize];
                codes[usize::from(symbol)] = (level.first + place, bits as u8);
            }
        }
        assert_eq!(codes[256], (0x3fff_ffff, 30));
        let all: Vec<u8> = (0..=255).collect();
        let mut bits: Vec<bool> = Vec::new();
        for byte in &all {
            let (code, length) = codes[usize::from(*byte)];
            bits.extend((0..length).rev().map(|shift| code >> shift & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        let coded: Vec<u8> = bits
            .chunks(8)
            .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect();
        assert_eq!(decode(&coded), Some(all));
    }
}
