//! From decimal digits and an exponent to the nearest double.
//!
//! Source: D. Lemire, "Number parsing at a gigabyte per second", Software: Practice and Experience 51 (2021). The table
//! of powers covers those that 128 bits hold exactly or approximate well enough for every 64-bit significand; the
//! standard library parses the rest.

/// Exponents of ten that the table covers.
const LEAST: i32 = -27;
const GREATEST: i32 = 55;

const EXACT: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// The 128 highest bits of 5^q: truncated for q ≥ 0, rounded up for its reciprocals.
static POWERS: [u128; (GREATEST - LEAST + 1) as usize] = powers();

const fn powers() -> [u128; (GREATEST - LEAST + 1) as usize] {
    let mut table = [0; (GREATEST - LEAST + 1) as usize];
    let mut q = 0;
    let mut power: u128 = 1;
    while q <= GREATEST {
        table[(q - LEAST) as usize] = power << power.leading_zeros();
        q += 1;
        if q <= GREATEST {
            power *= 5;
        }
    }
    let mut q = 1;
    let mut power: u64 = 1;
    while q <= -LEAST {
        power *= 5;
        // 2^b / power + 1 with b = bits(power) + 127: a quotient of exactly 128 bits. Long division, 64 bits at a time.
        let bits = 64 - power.leading_zeros();
        let divisor = power as u128;
        let top = 1_u128 << (bits - 1);
        let high = ((top % divisor) << 64) / divisor;
        let rest = ((top % divisor) << 64) % divisor;
        let low = (rest << 64) / divisor;
        // `top` is below the divisor, and the quotient of 2^(bits - 1 + 128) has 128 bits.
        table[(-q - LEAST) as usize] = ((high << 64) | low) + 1;
        q += 1;
    }
    table
}

/// The double nearest to `digits` · 10^`exponent`, unless that is outside what the tables decide.
#[inline(always)]
pub(super) fn nearest(digits: u64, exponent: i32) -> Option<f64> {
    if digits < 1 << 53 && (-22..=22).contains(&exponent) {
        // Both are exact doubles: one rounding, hence the nearest.
        let exact = digits as i64 as f64;
        return Some(if exponent < 0 {
            exact / EXACT[exponent.unsigned_abs() as usize]
        } else {
            exact * EXACT[exponent as usize]
        });
    }
    by_table(digits, exponent)
}

/// The double nearest to `digits` / 10^`behind`, both of eight digits' size at most.
#[inline(always)]
pub(super) fn nearest_of_few(digits: u64, behind: usize) -> f64 {
    digits as i64 as f64 / EXACT[behind]
}

#[inline]
fn by_table(digits: u64, exponent: i32) -> Option<f64> {
    if digits == 0 {
        return Some(0.0);
    }
    if !(LEAST..=GREATEST).contains(&exponent) {
        return None;
    }
    let leading = digits.leading_zeros();
    let significand = digits << leading;
    let power = POWERS[(exponent - LEAST) as usize];
    let first = u128::from(significand) * (power >> 64);
    let (mut high, mut low) = ((first >> 64) as u64, first as u64);
    // 52 bits of mantissa, one hidden, one to round, one that may be lost to normalisation.
    if high & (u64::MAX >> 55) == u64::MAX >> 55 {
        let second = ((u128::from(significand) * (power & u128::from(u64::MAX))) >> 64) as u64;
        let (sum, carried) = low.overflowing_add(second);
        low = sum;
        high += u64::from(carried);
    }
    let upper = (high >> 63) as i32;
    let shift = upper + 64 - 52 - 3;
    let mut mantissa = high >> shift;
    let mut binary = ((217_706 * exponent) >> 16) + 63 + upper - leading as i32 + 1023;
    if low <= 1 && (-4..=23).contains(&exponent) && mantissa & 3 == 1 && mantissa << shift == high {
        // Exactly between two doubles: to the even one.
        mantissa &= !1;
    }
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if mantissa >= 2 << 52 {
        mantissa = 1 << 52;
        binary += 1;
    }
    Some(f64::from_bits((mantissa & !(1 << 52)) | ((binary as u64) << 52)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(digits: u64, exponent: i32) -> f64 {
        format!("{digits}e{exponent}").parse().unwrap()
    }

    #[test]
    fn halves_and_edges_round_as_the_standard_library_rounds() {
        for exponent in LEAST..=GREATEST {
            for digits in
                [1, 5, 9_007_199_254_740_993, 9_007_199_254_740_995, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 53) + 1]
            {
                let nearest = nearest(digits, exponent).unwrap();
                assert_eq!(nearest.to_bits(), expected(digits, exponent).to_bits(), "{digits}e{exponent}");
            }
        }
        assert_eq!(nearest(u64::MAX, GREATEST + 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn is_the_nearest_double(digits: u64, keep in 0_u32..64, exponent in LEAST..=GREATEST) {
            let digits = digits >> keep;
            let nearest = nearest(digits, exponent).unwrap();
            prop_assert_eq!(nearest.to_bits(), expected(digits, exponent).to_bits());
        }
    }
}
