//! Checks a cron schedule by its form; computing instants is for whoever serves it.

use crate::text::SyntaxError;

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day of the month", low: 1, high: 31, words: &[] },
    Field { name: "month", low: 1, high: 12, words: &MONTHS },
    Field { name: "day of the week", low: 0, high: 7, words: &DAYS },
];

/// Refuses what is no schedule of five fields.
pub(super) fn check(expression: &str) -> Result<(), SyntaxError> {
    let given: Vec<&str> = expression.split_whitespace().collect();
    if given.len() != FIELDS.len() {
        return Err(SyntaxError::hinted(
            0,
            format!("a cron schedule has five fields, this one has {}", given.len()),
            "minute, hour, day of the month, month, day of the week: `0 2 * * *` is two o'clock every night",
        ));
    }
    for (text, field) in given.iter().zip(&FIELDS) {
        if !text.split(',').all(|item| field.takes(item)) {
            // The field's text lies within the expression, which tells where.
            let at = text.as_ptr() as usize - expression.as_ptr() as usize;
            return Err(SyntaxError::hinted(
                at,
                format!("`{text}` is no {}", field.name),
                format!("from {} to {}, as `5`, `1-5`, `*/15`, `1,2`", field.low, field.high),
            ));
        }
    }
    Ok(())
}

impl Field {
    fn takes(&self, item: &str) -> bool {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let step_fits = step.is_none_or(|step| step.parse().is_ok_and(|step: u32| step > 0 && step <= self.high));
        let range_fits = match range.split_once('-') {
            Some((low, high)) => match (self.value(low), self.value(high)) {
                (Some(low), Some(high)) => low <= high,
                _ => false,
            },
            None => range == "*" || self.value(range).is_some(),
        };
        step_fits && range_fits
    }

    fn value(&self, text: &str) -> Option<u32> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let from_word = word.and_then(|index| u32::try_from(index).ok()).map(|index| index + self.low);
        from_word.or_else(|| text.parse().ok().filter(|value| (self.low..=self.high).contains(value)))
    }
}

/// Refuses what is no IANA name of a time zone by its form; whether the zone exists is found when it is served.
pub(super) fn check_timezone(name: &str) -> Result<(), SyntaxError> {
    let piece_fits = |piece: &str| {
        piece.starts_with(|c: char| c.is_ascii_alphabetic())
            && piece.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
    };
    match name.split('/').all(piece_fits) {
        true => Ok(()),
        false => {
            Err(SyntaxError::hinted(0, format!("`{name}` is no time zone"), "for example `UTC` or `Europe/London`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_of_five_fields_are_taken() {
        for good in ["0 2 * * *", "*/15 0-6 1,15 jan-MAR Mon-fri", "5/10 * * 12 7", "0 0 31 * 0"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn the_field_that_is_wrong_is_named_where_it_stands() {
        for (bad, at, name) in [
            ("60 2 * * *", 0, "minute"),
            ("0 24 * * *", 2, "hour"),
            ("0 2 0 * *", 4, "month"),
            ("0 2 * * 1-", 8, "week"),
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.offset, at, "{bad}");
            assert!(error.message.contains(name), "{bad}: {}", error.message);
        }
        assert!(check("0 2 * *").is_err());
        assert!(check("*/0 2 * * *").is_err());
    }
}
