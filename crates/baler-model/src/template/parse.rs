//! Reads the text of a template into parts.

use super::{Format, Instant, Member, Part, TemplateError, Vocabulary};
use crate::partition::NULL_PARTITION;
use crate::pattern::{FieldType, MANIFEST_VARIABLES, Pattern, Shape};
use crate::text::{did_you_mean, hint_for, quoted_list};
use crate::time_format::TimeFormat;

/// Words that `combine` knows besides the names of the pattern.
const OWN_WORDS: [&str; 6] = ["today", "yesterday", "now", "run", "count", "index"];

/// Words of other verbs, and which has them.
const FOREIGN_WORDS: [(&str, &str); 4] =
    [("packet", "extract"), ("model", "model"), ("partition", "convert"), ("dir", "convert")];

const MEMBERS: [(&str, Member); 4] =
    [("first", Member::First), ("last", Member::Last), ("min", Member::Min), ("max", Member::Max)];

pub(super) fn parse(text: &str, from: &Pattern, words: Vocabulary<'_>) -> Result<Vec<Part>, TemplateError> {
    if text.is_empty() {
        return Err(TemplateError::hinted(
            0,
            "the template is empty",
            "say what an output is called, as in `all.jsonl`",
        ));
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let (literal, length) = if rest.starts_with("{{") || rest.starts_with("}}") {
            (&rest[..1], 2)
        } else if rest.starts_with('}') {
            return Err(TemplateError::hinted(at, "`}` closes nothing", "write `}}` for a brace"));
        } else if rest.starts_with('{') {
            let end = rest
                .find('}')
                .ok_or_else(|| TemplateError::hinted(at, "`{` is not closed", "write `{{` for a brace"))?;
            parts.push(part(&rest[1..end], at + 1, from, words)?);
            at += end + 1;
            continue;
        } else {
            let length = rest.find(['{', '}']).unwrap_or(rest.len());
            (&rest[..length], length)
        };
        if let Some(star) = literal.find('*') {
            return Err(TemplateError::hinted(
                at + star,
                "a template has no wildcards",
                "`*` belongs in `from`; name what it matches and use the name here",
            ));
        }
        match parts.last_mut() {
            Some(Part::Literal(before)) => before.push_str(literal),
            Some(_) | None => parts.push(Part::Literal(literal.to_owned())),
        }
        at += length;
    }
    Ok(parts)
}

/// Reads what stands between braces.
fn part(inside: &str, at: usize, from: &Pattern, words: Vocabulary<'_>) -> Result<Part, TemplateError> {
    let (name, spec) = match inside.split_once(':') {
        Some((name, spec)) => (name, Some(spec)),
        None => (inside, None),
    };
    let spec_at = at + name.len() + 1;
    if name.starts_with("manifest") && (name == "manifest" || name.starts_with("manifest.")) {
        if !MANIFEST_VARIABLES.contains(&name) {
            return Err(TemplateError {
                offset: at,
                message: format!("a manifest has no `{{{name}}}`"),
                hint: hint_for(name, &MANIFEST_VARIABLES),
            });
        }
        return match spec {
            Some(_) => Err(TemplateError::new(spec_at, format!("`{name}` takes no format"))),
            None => Ok(Part::Variable(name.to_owned())),
        };
    }
    let (base, of) = match name.split_once('.') {
        None => (name, Member::Shared),
        Some((base, member)) => match MEMBERS.iter().find(|(known, _)| *known == member) {
            Some((_, of)) => (base, *of),
            None => {
                return Err(TemplateError {
                    offset: at + base.len() + 1,
                    message: format!("unknown `.{member}`"),
                    hint: hint_for(member, &MEMBERS.map(|(name, _)| name)),
                });
            }
        },
    };
    if let (Some(slot), Some(kind)) = (from.slot(base), from.field_type(base)) {
        let format = spec.map_or(Ok(Format::AsCaptured), |spec| field_format(base, spec, spec_at, kind))?;
        return Ok(Part::Field { name: base.to_owned(), slot, of, format });
    }
    if of != Member::Shared && OWN_WORDS.contains(&base) {
        return Err(TemplateError::new(at, format!("`{{{base}}}` is one for all inputs: leave out the `.`")));
    }
    if of == Member::Shared
        && let Some(part) = partition_word(base, spec, at, spec_at, words)?
    {
        return Ok(part);
    }
    own_word(base, spec, at, spec_at, from, words)
}

/// Reads a word that stands for a partition, if it is one.
fn partition_word(
    word: &str,
    spec: Option<&str>,
    at: usize,
    spec_at: usize,
    words: Vocabulary<'_>,
) -> Result<Option<Part>, TemplateError> {
    if let Some(number) = words.columns.iter().position(|column| column == word) {
        return match spec {
            Some(_) => Err(TemplateError::new(spec_at, format!("`{word}` is a column and takes no format"))),
            None => Ok(Some(Part::Column { number })),
        };
    }
    if !words.partition || word != "partition" {
        return Ok(None);
    }
    const HINT: &str = "write `{partition:%Y-%m-%d}`, or `{partition:epoch}` for its first second";
    match spec {
        Some("epoch") => Ok(Some(Part::Partition { format: Format::Epoch })),
        Some(spec) if spec.contains('%') => {
            Ok(Some(Part::Partition { format: Format::Time(TimeFormat::parse(spec, spec_at)?) }))
        }
        Some(spec) => Err(TemplateError::hinted(spec_at, format!("`{spec}` is no time format"), HINT)),
        None => Err(TemplateError::hinted(at, "`{partition}` does not say how its time is written", HINT)),
    }
}

fn own_word(
    word: &str,
    spec: Option<&str>,
    at: usize,
    spec_at: usize,
    from: &Pattern,
    words: Vocabulary<'_>,
) -> Result<Part, TemplateError> {
    let width = || spec.map_or(Ok(0), |spec| padding(spec, spec_at));
    let clock = |instant, default: &str| {
        let format = TimeFormat::parse(spec.unwrap_or(default), spec_at)?;
        match spec {
            Some(spec) if !spec.contains('%') => {
                Err(TemplateError::hinted(spec_at, format!("`{spec}` is no time format"), "for example `%Y-%m-%d`"))
            }
            Some(_) | None => Ok(Part::Clock { instant, format }),
        }
    };
    match word {
        "today" => clock(Instant::Today, "%Y-%m-%d"),
        "yesterday" => clock(Instant::Yesterday, "%Y-%m-%d"),
        "now" => clock(Instant::Now, "%Y%m%dT%H%M%SZ"),
        "count" => Ok(Part::Count { width: width()? }),
        "index" => Ok(Part::Index { width: width()? }),
        "run" => match spec {
            Some(_) => Err(TemplateError::new(spec_at, "`run` takes no format")),
            None => Ok(Part::Run),
        },
        "" => Err(TemplateError::hinted(at, "a placeholder needs a name", "write `{{` for a brace")),
        unknown => Err(unknown_word(unknown, at, from, words)),
    }
}

fn unknown_word(word: &str, at: usize, from: &Pattern, words: Vocabulary<'_>) -> TemplateError {
    if let Some((_, verb)) = FOREIGN_WORDS.iter().find(|(known, _)| *known == word) {
        return TemplateError::hinted(
            at,
            format!("`{{{word}}}` has no meaning in `do = \"combine\"`"),
            format!("it belongs to `do = \"{verb}\"`"),
        );
    }
    let known: Vec<&str> = from.names().chain(words.columns.iter().map(String::as_str)).collect();
    let hint = match did_you_mean(word, known.iter().copied().chain(OWN_WORDS)) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None if known.is_empty() => format!("`from` has no placeholders; known are {}", quoted_list(&OWN_WORDS)),
        None => format!("`from` has {}; known besides are {}", quoted_list(&known), quoted_list(&OWN_WORDS)),
    };
    TemplateError::hinted(at, format!("unknown name `{word}`"), hint)
}

fn field_format(name: &str, spec: &str, at: usize, kind: FieldType) -> Result<Format, TemplateError> {
    let wrong = |needs: &str, hint: &str| {
        Err(TemplateError::hinted(at, format!("`{spec}` needs {needs}, but `{name}` is {kind}"), hint))
    };
    let is_time = matches!(kind, FieldType::Time(_));
    match spec {
        "epoch" if is_time => Ok(Format::Epoch),
        "epoch" => wrong("a time", "give it a time format in `from`, such as `{day:%Y-%m-%d}`"),
        "int" => Err(TemplateError::hinted(at, "types belong in `from`", format!("write `{{{name}}}` here"))),
        time if time.contains('%') && is_time => Ok(Format::Time(TimeFormat::parse(time, at)?)),
        time if time.contains('%') => wrong("a time", "give it a time format in `from`, such as `{day:%Y-%m-%d}`"),
        width => {
            let width = padding(width, at)?;
            match kind {
                FieldType::Int => Ok(Format::Padded(width)),
                FieldType::Text | FieldType::Time(_) => {
                    wrong("a number", "give it the type `int` in `from`, as in `{n:int}`")
                }
            }
        }
    }
}

/// Reads a width such as `08`, 38 at most: the digits of the largest number.
fn padding(spec: &str, at: usize) -> Result<usize, TemplateError> {
    let width = spec.strip_prefix('0').and_then(|width| width.parse().ok()).filter(|width| (1..=38).contains(width));
    width.ok_or_else(|| {
        TemplateError::hinted(
            at,
            format!("unknown format `{spec}`"),
            "formats are `%Y-%m-%d` and its like, `epoch`, and a width such as `08`",
        )
    })
}

impl Part {
    /// What the part looks like in a key.
    pub(super) fn shape(&self, from: &Pattern) -> Shape {
        match self {
            Part::Literal(text) => Shape::literal(text),
            Part::Variable(_) => Shape::anything().widened(),
            Part::Field { slot, format, .. } => match format {
                Format::AsCaptured => from.slot_shape(*slot),
                Format::Padded(width) => padded_digits(*width),
                Format::Time(format) => Shape::regex(&format.regex()),
                Format::Epoch => Shape::regex("-?[0-9]+"),
            },
            Part::Count { width } | Part::Index { width } => padded_digits(*width),
            Part::Clock { format, .. } => Shape::regex(&format.regex()),
            Part::Run => Shape::regex("[0-9A-Za-z][0-9A-Za-z._-]*"),
            Part::Partition { format: Format::Time(format) } => {
                Shape::regex(&format!("(?:{}|{NULL_PARTITION})", format.regex()))
            }
            Part::Partition { .. } => Shape::regex(&format!("(?:-?[0-9]+|{NULL_PARTITION})")),
            Part::Column { .. } => Shape::regex("[^/]+"),
        }
    }
}

fn padded_digits(width: usize) -> Shape {
    match width {
        0 => Shape::digits(),
        width => Shape::regex(&format!("[0-9]{{{width},}}")),
    }
}
