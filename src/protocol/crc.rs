//! CRC-32C, fast for short inputs such as entries.
//!
//! The processor's instruction takes eight bytes and has a latency of three cycles, but one can begin in each cycle. So
//! the input is cut into thirds, whose checksums are computed in parallel and combined by a multiplication. Crates do
//! that for long input only. Without such an instruction a crate does everything.

/// The CRC-32C of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return unsafe { x86_64::in_thirds(bytes) };
    }
    by_crate(bytes)
}

/// The CRC-32C of four numbers in big-endian order, without writing them to memory.
#[inline]
pub fn crc32c_of(numbers: [u64; 4]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") {
        let [a, b, c, d] = numbers;
        // SAFETY: the processor has the instruction that the function is compiled for.
        return unsafe { x86_64::in_a_row(a, b, c, d) };
    }
    by_crate(numbers.map(u64::to_be_bytes).as_flattened())
}

/// Not inlined, to keep the callers small.
#[inline(never)]
fn by_crate(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{_mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u64, _mm_cvtsi32_si128, _mm_cvtsi128_si64};

    /// The operands of the instruction, from memory or registers.
    type Word = [u8; 8];

    /// Takes the numbers one by one, so that they are passed in registers.
    #[target_feature(enable = "sse4.2")]
    pub(super) fn in_a_row(a: u64, b: u64, c: u64, d: u64) -> u32 {
        let numbers = [a, b, c, d].map(u64::to_be_bytes);
        !numbers.iter().fold(u64::from(u32::MAX), |crc, number| next(crc, number)) as u32
    }

    #[target_feature(enable = "sse4.2,pclmulqdq")]
    pub(super) fn in_thirds(bytes: &[u8]) -> u32 {
        let (words, tail) = bytes.as_chunks();
        // Thirds of 336 and 80 bytes: three of them nearly fill 1024 and 256 bytes, and the rest is slow.
        let (crc, words) = thirds::<42>(u64::from(u32::MAX), words);
        let (crc, words) = thirds::<10>(crc, words);
        let crc = words.iter().fold(crc, |crc, word| next(crc, word));
        !tail.iter().fold(crc as u32, |crc, byte| _mm_crc32_u8(crc, *byte))
    }

    #[inline]
    #[target_feature(enable = "sse4.2")]
    fn next(crc: u64, word: &Word) -> u64 {
        _mm_crc32_u64(crc, u64::from_le_bytes(*word))
    }

    /// Processes blocks of three times `N` words, and returns the words that are left.
    #[inline]
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    fn thirds<const N: usize>(mut crc: u64, mut words: &[Word]) -> (u64, &[Word]) {
        while let Some((first, rest)) = words.split_first_chunk::<N>()
            && let Some((second, rest)) = rest.split_first_chunk::<N>()
            && let Some((third, rest)) = rest.split_first_chunk::<N>()
        {
            let (mut crcs, last) = ([crc, 0, 0], N - 1);
            for i in 0..last {
                crcs = [next(crcs[0], &first[i]), next(crcs[1], &second[i]), next(crcs[2], &third[i])];
            }
            // The first two are shifted over the words after them, and mixed into the last word.
            let first = shifted(next(crcs[0], &first[last]), const { zeros(2 * N) });
            let second = shifted(next(crcs[1], &second[last]), const { zeros(N) });
            crc = _mm_crc32_u64(crcs[2], u64::from_le_bytes(third[last]) ^ first ^ second);
            words = rest;
        }
        (crc, words)
    }

    /// The unreduced product of a checksum and a power of x.
    #[inline]
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    fn shifted(crc: u64, power: u32) -> u64 {
        let (crc, power) = (_mm_cvtsi32_si128(crc as i32), _mm_cvtsi32_si128(power as i32));
        _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0>(crc, power)) as u64
    }

    /// The power of x that takes a checksum over so many words of zeros: one for each of their bits, less the 33 that
    /// multiplication and instruction add. Modulo the polynomial, bits reversed.
    const fn zeros(words: usize) -> u32 {
        let mut power = 1 << 31;
        let mut bits = words * 64 - 33;
        while bits > 0 {
            power = (power >> 1) ^ if power & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bits -= 1;
        }
        power
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_crates_at_every_length_and_place() {
        let bytes: Vec<u8> = (0..4096u32).map(|i| ((i * i) >> 3) as u8 ^ i as u8).collect();
        for len in 0..bytes.len() - 8 {
            let bytes = &bytes[len % 8..][..len];
            assert_eq!(crc32c(bytes), crc_fast::crc32_iscsi(bytes), "{len} bytes");
        }
        let numbers = [1, u64::MAX, 0x0123_4567_89ab_cdef, 2];
        assert_eq!(crc32c_of(numbers), crc_fast::crc32_iscsi(numbers.map(u64::to_be_bytes).as_flattened()));
    }
}
