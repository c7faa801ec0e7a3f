//! Reads the text of a pattern into tokens.

use super::{FieldKind, FieldType, MANIFEST_VARIABLES, MAX_NAMES, PatternError, RESERVED_WORDS, Token};
use crate::text::hint_for;
use crate::time_format::TimeFormat;

pub(super) struct Parsed {
    pub(super) tokens: Vec<Token>,
    pub(super) offsets: Vec<usize>,
    pub(super) names: Vec<(String, FieldType)>,
}

/// Writes text so that as a pattern it matches just itself.
pub(super) fn quote(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}").replace('*', "{*}")
}

pub(super) fn parse(text: &str) -> Result<Parsed, PatternError> {
    if text.is_empty() {
        return Err(PatternError::hinted(0, "the pattern is empty", "`**` matches every key"));
    }
    let mut parser = Parser { text, parsed: Parsed { tokens: Vec::new(), offsets: Vec::new(), names: Vec::new() } };
    let mut at = 0;
    while at < text.len() {
        at = parser.next(at)?;
    }
    Ok(parser.parsed)
}

struct Parser<'t> {
    text: &'t str,
    parsed: Parsed,
}

impl Parser<'_> {
    /// Reads what begins at `at`; gives where the next begins.
    fn next(&mut self, at: usize) -> Result<usize, PatternError> {
        let rest = &self.text[at..];
        if rest.starts_with("{{") {
            self.literal(at, "{");
            return Ok(at + 2);
        }
        if rest.starts_with("}}") {
            self.literal(at, "}");
            return Ok(at + 2);
        }
        if rest.starts_with("{*}") {
            self.literal(at, "*");
            return Ok(at + 3);
        }
        if rest.starts_with('}') {
            return Err(PatternError::hinted(at, "`}` closes nothing", "write `}}` for a brace"));
        }
        if rest.starts_with('{') {
            return self.placeholder(at);
        }
        if rest.starts_with("**") {
            let whole_piece = self.text[..at].is_empty() || self.text[..at].ends_with('/');
            if whole_piece && rest.starts_with("**/") {
                self.push(at, Token::Pieces);
                return Ok(at + 3);
            }
            self.push(at, Token::Deep);
            return Ok(at + 2);
        }
        if rest.starts_with('*') {
            self.push(at, Token::Star);
            return Ok(at + 1);
        }
        let length = rest.find(['{', '}', '*']).unwrap_or(rest.len());
        self.literal(at, &self.text[at..at + length]);
        Ok(at + length)
    }

    fn push(&mut self, at: usize, token: Token) {
        self.parsed.tokens.push(token);
        self.parsed.offsets.push(at);
    }

    fn literal(&mut self, at: usize, text: &str) {
        match self.parsed.tokens.last_mut() {
            Some(Token::Literal(literal)) => literal.push_str(text),
            Some(_) | None => self.push(at, Token::Literal(text.to_owned())),
        }
    }

    fn placeholder(&mut self, at: usize) -> Result<usize, PatternError> {
        let unclosed = || PatternError::hinted(at, "`{` is not closed", "write `{{` for a brace");
        let inside = &self.text[at + 1..];
        let name_length =
            inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).ok_or_else(unclosed)?;
        let name = &inside[..name_length];
        let after = &inside[name_length..];
        let (spec, end) = if after.starts_with('}') {
            (None, at + 1 + name_length + 1)
        } else if let Some(spec) = after.strip_prefix(':') {
            let length = match spec.strip_prefix('/') {
                Some(regex) => {
                    1 + regex.find("/}").ok_or_else(|| {
                        PatternError::hinted(at, "the regular expression is not closed", "write it as `{name:/regex/}`")
                    })? + 1
                }
                None => spec.find('}').ok_or_else(unclosed)?,
            };
            (Some(&spec[..length]), at + 1 + name_length + 1 + length + 1)
        } else {
            let odd: String = after.chars().take(1).collect();
            return Err(match after.contains('}') {
                true => PatternError::hinted(
                    at + 1 + name_length,
                    format!("`{odd}` cannot be part of a name"),
                    "a placeholder is `{name}` or `{name:type}`; write `{{` for a brace",
                ),
                false => unclosed(),
            });
        };
        if let Some(variable) = name.strip_prefix("manifest.") {
            return self.variable(at, end, name, variable, spec);
        }
        self.check_name(at, name)?;
        let spec_at = at + 2 + name_length;
        match (self.parsed.names.iter().position(|(known, _)| known == name), spec) {
            (Some(slot), None) => self.push(at, Token::Again { slot: slot_number(slot) }),
            (Some(slot), Some(spec)) => {
                let kind = field_kind(spec, spec_at)?;
                let first = self.parsed.tokens.iter().find_map(|token| match token {
                    Token::Field { slot: found, kind } if usize::from(*found) == slot => Some(kind),
                    Token::Literal(_)
                    | Token::Field { .. }
                    | Token::Again { .. }
                    | Token::Star
                    | Token::Deep
                    | Token::Pieces
                    | Token::Variable(_) => None,
                });
                if first != Some(&kind) {
                    return Err(PatternError::hinted(
                        at,
                        format!("`{name}` is used twice with different types"),
                        "a name used twice stands for the same text: give the type once, or use two names",
                    ));
                }
                self.push(at, Token::Again { slot: slot_number(slot) });
            }
            (None, spec) => {
                let kind = spec.map_or(Ok(FieldKind::Text), |spec| field_kind(spec, spec_at))?;
                let slot = self.parsed.names.len();
                if slot == MAX_NAMES {
                    return Err(PatternError::hinted(
                        at,
                        format!("a pattern may have {MAX_NAMES} names at most"),
                        "use `*` where the text is not needed",
                    ));
                }
                self.parsed.names.push((name.to_owned(), kind.field_type()));
                self.push(at, Token::Field { slot: slot_number(slot), kind });
            }
        }
        Ok(end)
    }

    fn variable(
        &mut self,
        at: usize,
        end: usize,
        name: &str,
        variable: &str,
        spec: Option<&str>,
    ) -> Result<usize, PatternError> {
        if !MANIFEST_VARIABLES.contains(&name) {
            return Err(PatternError {
                offset: at,
                message: format!("a manifest has no `{variable}`"),
                hint: hint_for(name, &MANIFEST_VARIABLES),
            });
        }
        if spec.is_some() {
            return Err(PatternError::new(at, format!("`{name}` takes no type")));
        }
        self.push(at, Token::Variable(name.to_owned()));
        Ok(end)
    }

    fn check_name(&self, at: usize, name: &str) -> Result<(), PatternError> {
        if name.is_empty() {
            return Err(PatternError::hinted(
                at,
                "a placeholder needs a name",
                "use `*` where the text is not needed, `{{` for a brace",
            ));
        }
        if name.starts_with('.') {
            return Err(PatternError::hinted(
                at,
                format!("the name `{name}` begins with a dot"),
                "write the dot before the brace: `.{name}`",
            ));
        }
        if let Some((base, _)) = name.split_once('.') {
            return Err(PatternError::hinted(
                at,
                format!("`{{{name}}}` belongs in `to`: a pattern has no `.first` and the like"),
                format!("write `{{{base}}}` here"),
            ));
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(PatternError::hinted(
                at,
                format!("the name `{name}` begins with a digit"),
                format!("begin it with a letter, as in `{{n{name}}}`"),
            ));
        }
        // `partition` and `dir` belong to other verbs' templates, where nothing of a pattern is in the way:
        // the sample in the manual captures `{partition:int}` itself, and a captured name comes first.
        if RESERVED_WORDS.contains(&name) && !CAPTURABLE_WORDS.contains(&name) {
            return Err(PatternError::hinted(
                at,
                format!("`{name}` is a reserved word"),
                "choose another name, such as `".to_owned() + name + "_`",
            ));
        }
        Ok(())
    }
}

/// Reserved words that a pattern may capture: no template of a flow that reads keys gives them another meaning.
const CAPTURABLE_WORDS: [&str; 4] = ["packet", "model", "partition", "dir"];

fn slot_number(slot: usize) -> u8 {
    u8::try_from(slot).expect("MAX_NAMES fits into a byte")
}

fn field_kind(spec: &str, at: usize) -> Result<FieldKind, PatternError> {
    if let Some(regex) = spec.strip_prefix('/') {
        let source = regex.strip_suffix('/').expect("the parser cut it behind its `/`");
        // The expression is compiled alone first, so that an unbalanced one cannot reach out of its brackets.
        let fault = |error: regex::Error| {
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            PatternError::new(at, format!("the regular expression `{source}` is wrong: {reason}"))
        };
        regex::Regex::new(source).map_err(fault)?;
        let whole = regex::Regex::new(&format!(r"\A(?:{source})\z")).map_err(fault)?;
        return Ok(FieldKind::Regex { source: source.to_owned(), whole: Box::new(whole) });
    }
    match spec {
        "int" => Ok(FieldKind::Int),
        "epoch" => Ok(FieldKind::Epoch),
        time if time.contains('%') => {
            let format = TimeFormat::parse(time, at)?;
            format.check_readable(at)?;
            Ok(FieldKind::Time(format))
        }
        "" => Err(PatternError::hinted(at, "no type stands behind the `:`", "leave out the `:`, or write `int`")),
        unknown => Err(PatternError::hinted(
            at,
            format!("unknown type `{unknown}`"),
            match crate::text::did_you_mean(unknown, ["int", "epoch"]) {
                Some(word) => format!("did you mean `{word}`?"),
                None => "types are `int`, `epoch`, a time such as `%Y-%m-%d`, a regular expression `/…/`".to_owned(),
            },
        )),
    }
}
