//! CRC-64/NVME: of bytes, and of objects whose bytes are never read.
//!
//! The checksum of a concatenation follows from those of its halves and the length of the second, and any one of the
//! three checksums follows from the other two. So the checksum that a combined object *should* have is computed from
//! what the store says of its sources, and compared with what the store says of the output.
//!
//! Source: M. Adler, `crc32_combine` of zlib; catalogue of parametrised CRC algorithms, entry CRC-64/NVME.

use std::fmt;

use crc_fast::{CrcAlgorithm, Digest};

/// The polynomial, bits reflected: bit 63 is the coefficient of x⁰.
const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;
/// The polynomial 1.
const ONE: u64 = 1 << 63;
/// x^(8·2ᵏ) for each k.
const POWERS: [u64; 64] = squares(times_x_to_8(ONE));
/// x^(-8·2ᵏ) for each k. The polynomial has a constant term, so x has an inverse.
const INVERSES: [u64; 64] = squares(divided_by_x_to_8(ONE));

/// A CRC-64/NVME in the making.
#[derive(Clone)]
pub struct Crc64(Digest);

impl Crc64 {
    /// Begins with no bytes.
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64Nvme))
    }

    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
    }

    /// Goes on with further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }

    /// The checksum of A‖B from those of A and B; `len_b` is the length of B in bytes.
    pub fn combine(a: u64, b: u64, len_b: u64) -> u64 {
        // Initial value and final exclusive-or are both all ones: they cancel out, and the checksum of A‖B is that of A
        // moved on by as many bytes as B has, plus that of B.
        times(a, power(&POWERS, len_b)) ^ b
    }

    /// The checksum of B from those of A‖B and A; `len_rest` is the length of B in bytes.
    pub fn strip_prefix(whole: u64, prefix: u64, len_rest: u64) -> u64 {
        whole ^ times(prefix, power(&POWERS, len_rest))
    }

    /// The checksum of A from those of A‖B and B; `len_suffix` is the length of B in bytes.
    pub fn strip_suffix(whole: u64, suffix: u64, len_suffix: u64) -> u64 {
        times(whole ^ suffix, power(&INVERSES, len_suffix))
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crc64({:016x})", self.value())
    }
}

/// The product of two polynomials modulo ours.
const fn times(a: u64, b: u64) -> u64 {
    let (mut product, mut shifted, mut bit) = (0, b, ONE);
    while bit != 0 {
        if a & bit != 0 {
            product ^= shifted;
        }
        shifted = (shifted >> 1) ^ if shifted & 1 == 1 { POLYNOMIAL } else { 0 };
        bit >>= 1;
    }
    product
}

/// The product of `table[k]` over the bits `k` of `bytes`.
fn power(table: &[u64; 64], bytes: u64) -> u64 {
    let bits = (0..64).filter(|k| bytes >> k & 1 == 1);
    bits.fold(ONE, |product, k| times(product, table[k]))
}

const fn squares(first: u64) -> [u64; 64] {
    let mut table = [first; 64];
    let mut k = 1;
    while k < 64 {
        table[k] = times(table[k - 1], table[k - 1]);
        k += 1;
    }
    table
}

const fn times_x_to_8(mut a: u64) -> u64 {
    let mut n = 0;
    while n < 8 {
        a = (a >> 1) ^ if a & 1 == 1 { POLYNOMIAL } else { 0 };
        n += 1;
    }
    a
}

const fn divided_by_x_to_8(mut a: u64) -> u64 {
    let mut n = 0;
    while n < 8 {
        // Multiplying by x sets bit 63 exactly when it subtracted the polynomial.
        a = if a & ONE != 0 { ((a ^ POLYNOMIAL) << 1) | 1 } else { a << 1 };
        n += 1;
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_is_met() {
        assert_eq!(Crc64::of(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(Crc64::of(b""), 0);
    }

    #[test]
    fn lengths_beyond_memory_can_be_stripped_again() {
        let (a, b) = (Crc64::of(b"head"), Crc64::of(b"tail"));
        for len in [1, 5 << 20, 5 << 30, 5 << 40, u64::MAX] {
            let whole = Crc64::combine(a, b, len);
            assert_eq!(Crc64::strip_suffix(whole, b, len), a, "{len}");
            assert_eq!(Crc64::strip_prefix(whole, a, len), b, "{len}");
            assert_eq!(whole, crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, a, b, len), "{len}");
        }
    }

    proptest! {
        #[test]
        fn each_of_three_checksums_follows_from_the_other_two(
            a in prop::collection::vec(any::<u8>(), 0..300),
            b in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let whole = Crc64::of(&[a.clone(), b.clone()].concat());
            let (crc_a, crc_b, len_b) = (Crc64::of(&a), Crc64::of(&b), b.len() as u64);
            prop_assert_eq!(Crc64::combine(crc_a, crc_b, len_b), whole);
            prop_assert_eq!(Crc64::strip_prefix(whole, crc_a, len_b), crc_b);
            prop_assert_eq!(Crc64::strip_suffix(whole, crc_b, len_b), crc_a);
        }

        #[test]
        fn a_digest_does_not_mind_where_it_was_cut(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 0..2000usize) {
            let cut = cut.min(bytes.len());
            let mut digest = Crc64::new();
            digest.update(&bytes[..cut]);
            digest.update(&bytes[cut..]);
            prop_assert_eq!(digest.value(), Crc64::of(&bytes));
        }
    }
}
