//! From text to a tree of values: TOML, then `--set` overrides, then `${VAR}`.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Problem, Sources};

/// A table whose spans are offsets into the [`Sources`].
pub(super) type Table<'t> = DeTable<'t>;

/// Reads a TOML text that begins at `start` of the sources.
pub(super) fn parse<'t>(text: &'t str, start: usize, sources: &Sources) -> Result<Table<'t>, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            let span = error.span().unwrap_or(text.len()..text.len());
            sources.problem(&shifted(&span, start), error.message(), None)
        };
        // What follows the first fault is often its echo.
        return Err(errors.iter().take(1).map(problem).collect());
    }
    Ok(shifted_table(table.into_inner(), start))
}

/// Reads `flows.audit.batch.max_objects=5`; a value that is no TOML is a text.
pub(super) fn parse_set<'t>(argument: &'t str, sources: &mut Sources) -> Result<Table<'t>, Vec<Problem>> {
    let start = sources.add("--set", argument);
    let whole = start..start + argument.len();
    let Some(equals) = argument.find('=') else {
        let hint = "for example `--set flows.audit.batch.max_objects=5`".to_owned();
        return Err(vec![sources.problem(&whole, "an override is written `KEY=VALUE`", Some(hint))]);
    };
    let (key, value) = (&argument[..equals], argument[equals + 1..].trim());
    if let Ok(table) = parse(argument, start, sources) {
        return Ok(table);
    }
    let document = format!("{key}=''");
    let (table, errors) = DeTable::parse_recoverable(&document);
    if !errors.is_empty() {
        return Err(vec![sources.problem(&(start..start + equals), format!("`{key}` is no key"), None)]);
    }
    Ok(text_leaf(table.into_inner(), start, &(whole.end - value.len()..whole.end), value))
}

/// Lays one table over another: tables are merged, everything else is replaced.
pub(super) fn overlay<'t>(base: &mut Table<'t>, over: Table<'t>) {
    for (key, value) in over {
        let merged = match (base.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(inner)), DeValue::Table(new)) => {
                overlay(inner, new.clone());
                true
            }
            _ => false,
        };
        if !merged {
            // The key in the file keeps its span, so that flows stay in the order of the file.
            match base.get_mut(key.get_ref().as_ref()) {
                Some(old) => *old = value,
                None => {
                    base.insert(key, value);
                }
            }
        }
    }
}

/// Looks up the environment.
pub(super) type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Replaces `${VAR}` and `${VAR:-default}` in every text; `$${` stands for `${`.
pub(super) fn expand(table: &mut Table<'_>, env: Env<'_>, sources: &Sources, problems: &mut Vec<Problem>) {
    for (_, value) in table.iter_mut() {
        expand_value(value, env, sources, problems);
    }
}

fn expand_value(value: &mut Spanned<DeValue<'_>>, env: Env<'_>, sources: &Sources, problems: &mut Vec<Problem>) {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) if text.contains("${") => match expand_text(text, env) {
            Ok(expanded) => *text = Cow::Owned(expanded),
            Err((at, message, hint)) => {
                let span = inside(sources, &span, text, at..text.len());
                problems.push(sources.problem(&span, message, Some(hint)));
            }
        },
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                expand_value(item, env, sources, problems);
            }
        }
        DeValue::Table(table) => expand(table, env, sources, problems),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

fn expand_text(text: &str, env: Env<'_>) -> Result<String, (usize, String, String)> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let at = text.len() - rest.len() + dollar;
        if rest[..dollar].ends_with('$') {
            out.push_str(&rest[..dollar - 1]);
            out.push_str("${");
            rest = &rest[dollar + 2..];
            continue;
        }
        out.push_str(&rest[..dollar]);
        let inside = &rest[dollar + 2..];
        let end = inside.find('}').ok_or_else(|| {
            (at, "`${` is not closed".to_owned(), "write `${VAR}`, or `$${` for the characters themselves".to_owned())
        })?;
        let (name, default) = match inside[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inside[..end], None),
        };
        let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !well_formed {
            let message = format!("`{name}` cannot name an environment variable");
            return Err((at, message, "write `${VAR}` or `${VAR:-default}`".to_owned()));
        }
        // As in a shell, `:-` stands in for an empty variable too.
        match (env(name), default) {
            (Some(value), default) if !value.is_empty() || default.is_none() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (_, None) => {
                let message = format!("the environment variable `{name}` is not set");
                return Err((at, message, format!("set it, or give a default: `${{{name}:-default}}`")));
            }
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Narrows the span of a text value to a part of it, where the file shows the text unescaped.
pub(super) fn inside(sources: &Sources, span: &Range<usize>, value: &str, part: Range<usize>) -> Range<usize> {
    let shown = sources.slice(span);
    let quotes = ["\"\"\"", "'''", "\"", "'", ""].into_iter().find(|quote| {
        let inner = shown.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        inner == Some(value)
    });
    match quotes {
        Some(quote) => {
            let start = span.start + quote.len();
            start + part.start..start + part.end.max(part.start)
        }
        None => span.clone(),
    }
}

fn shifted(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn shifted_table(table: DeTable<'_>, by: usize) -> Table<'_> {
    table
        .into_iter()
        .map(|(key, value)| (Spanned::new(shifted(&key.span(), by), key.into_inner()), shifted_value(value, by)))
        .collect()
}

fn shifted_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = shifted(&value.span(), by);
    let inner = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shifted_table(table, by)),
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| shifted_value(item, by)).collect()),
        leaf @ (DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)) => leaf,
    };
    Spanned::new(span, inner)
}

/// The key of an override with a text as its value, all owned.
fn text_leaf(table: DeTable<'_>, by: usize, span: &Range<usize>, text: &str) -> Table<'static> {
    let entry = |(key, value): (Spanned<Cow<'_, str>>, Spanned<DeValue<'_>>)| {
        let (value_span, inner) = match value.into_inner() {
            DeValue::Table(table) => (span.clone(), DeValue::Table(text_leaf(table, by, span, text))),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => (span.clone(), DeValue::String(Cow::Owned(text.to_owned()))),
        };
        let key_span = shifted(&key.span(), by);
        let key = Cow::Owned(key.into_inner().into_owned());
        (Spanned::new(key_span, key), Spanned::new(value_span, inner))
    };
    table.into_iter().map(entry).collect()
}
