//! Values that are not to be seen: masked or hashed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef};
use baler_format::encode::push_text;
use baler_model::scrub::Mask;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::ScrubError;

/// How a column's values are hidden.
pub(super) enum Disguise {
    /// Only a part is shown.
    Mask(Mask),
    /// Replaced by a keyed hash; this is the key, already taken in.
    Hash(Box<Hmac<Sha256>>),
}

/// What stands for a value of which not even the length is shown.
const HIDDEN: &str = "****";

impl Disguise {
    /// Prepares a hash. Errors: the salt is missing or empty.
    pub(super) fn hash(column: &str, name: &str, salts: &BTreeMap<String, String>) -> Result<Self, ScrubError> {
        let fault = |is_empty| ScrubError::Salt { column: column.to_owned(), name: name.to_owned(), is_empty };
        match salts.get(name) {
            None => Err(fault(false)),
            Some(salt) if salt.is_empty() => Err(fault(true)),
            Some(salt) => match Hmac::new_from_slice(salt.as_bytes()) {
                Ok(key) => Ok(Self::Hash(Box::new(key))),
                Err(_) => Err(ScrubError::Internal("HMAC takes a key of any length".to_owned())),
            },
        }
    }

    /// Hides the values of a column of scalars; null stays null. Errors: a value that has no text, of those
    /// that [`without_text`] finds.
    pub(super) fn apply(&self, array: &ArrayRef) -> Result<ArrayRef, String> {
        let mut hidden = StringBuilder::with_capacity(array.len(), array.len() * 16);
        let (mut text, mut out) = (String::new(), String::new());
        for row in 0..array.len() {
            if array.is_null(row) {
                hidden.append_null();
                continue;
            }
            text.clear();
            out.clear();
            push_text(&mut text, array, row)?;
            match self {
                Self::Mask(mask) => push_masked(&mut out, *mask, &text),
                Self::Hash(key) => push_hashed(&mut out, key, &text),
            }
            hidden.append_value(&out);
        }
        Ok(Arc::new(hidden.finish()))
    }
}

/// Returns the rows of a column of dates or times whose values have no text.
pub(super) fn without_text(array: &ArrayRef) -> Vec<u32> {
    let mut text = String::new();
    let mut has_none = |row: &usize| {
        text.clear();
        push_text(&mut text, array, *row).is_err()
    };
    (0..array.len()).filter(|row| has_none(row)).map(|row| row as u32).collect()
}

fn push_hashed(out: &mut String, key: &Hmac<Sha256>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = key.clone();
    hash.update(text.as_bytes());
    for byte in hash.finalize().into_bytes() {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn push_masked(out: &mut String, mask: Mask, text: &str) {
    let length = text.chars().count();
    // A value that is no longer than what may be shown would be shown whole.
    let shown = |count: u32| Some(count as usize).filter(|count| *count < length).unwrap_or(0);
    let (first, last) = match mask {
        Mask::All => return out.push_str(HIDDEN),
        Mask::Email => {
            out.push_str(HIDDEN);
            if let Some((_, domain)) = text.rsplit_once('@') {
                out.push('@');
                out.push_str(domain);
            }
            return;
        }
        Mask::First(count) => (shown(count), 0),
        Mask::Last(count) => (0, shown(count)),
    };
    out.extend(text.chars().take(first));
    out.extend(std::iter::repeat_n('*', length - first - last));
    out.extend(text.chars().skip(length - last));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: Mask, text: &str) -> String {
        let mut out = String::new();
        push_masked(&mut out, mask, text);
        out
    }

    #[test]
    fn masks_show_what_they_say_and_no_more() {
        assert_eq!(masked(Mask::All, "4111111111111111"), "****");
        assert_eq!(masked(Mask::All, ""), "****");
        assert_eq!(masked(Mask::First(2), "ann"), "an*");
        assert_eq!(masked(Mask::Last(4), "4111111111111234"), "************1234");
        assert_eq!(masked(Mask::Last(1), "Grüße"), "****e");
        assert_eq!(masked(Mask::First(3), "Grüße"), "Grü**");
    }

    #[test]
    fn a_value_no_longer_than_what_may_be_shown_shows_nothing() {
        assert_eq!(masked(Mask::Last(4), "1234"), "****");
        assert_eq!(masked(Mask::Last(4), "12"), "**");
        assert_eq!(masked(Mask::First(4), ""), "");
        assert_eq!(masked(Mask::First(1), "é"), "*");
    }

    #[test]
    fn of_an_address_the_domain_is_shown() {
        assert_eq!(masked(Mask::Email, "ann.lee@example.com"), "****@example.com");
        assert_eq!(masked(Mask::Email, "\"a@b\"@example.com"), "****@example.com");
        assert_eq!(masked(Mask::Email, "no address"), "****");
        assert_eq!(masked(Mask::Email, "@example.com"), "****@example.com");
    }

    #[test]
    fn hashes_are_hmac_sha_256() {
        // RFC 4231, test case 2.
        let salts = BTreeMap::from([("S".to_owned(), "Jefe".to_owned())]);
        let Ok(Disguise::Hash(key)) = Disguise::hash("c", "S", &salts) else { panic!("a salt is there") };
        let mut out = String::new();
        push_hashed(&mut out, &key, "what do ya want for nothing?");
        assert_eq!(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
