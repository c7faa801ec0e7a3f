//! Checks one flow.

use super::cron;
use super::place::PathKind;
use super::raw::{At, RawAfterCommit, RawCheck, RawFlow, RawHeader, RawOperation, RawSeparator, RawTrigger};
use super::raw_convert::RawTo;
use super::resolved::{
    AfterCommit, Batch, Check, CombineConfig, Deletes, FlowConfig, Header, Operation, Overwrite, RedshiftManifest,
    Separator, Source, SourcePolicy, Target, Trigger,
};
use super::suffix::Suffix;
use super::validate::Checker;
use crate::quantity::QuantityError;
use crate::text::SyntaxError;
use crate::{ByteSize, Condition, FlowName, OrderBy, Pattern, Span, Template};

/// The least inputs that are worth combining, unless the flow says otherwise.
const MIN_OBJECTS: u64 = 2;

impl Checker<'_> {
    /// Checks a flow; `None` when something is wrong, which has then been reported.
    pub(super) fn flow(&mut self, name: &At<String>, raw: &RawFlow) -> Option<FlowConfig> {
        let before = self.problems.len();
        let flow_name = match FlowName::try_new(name.value.as_str()) {
            Ok(name) => Some(name),
            Err(error) => {
                self.report(&name.span, error.to_string(), "the name is part of keys in the ledger");
                None
            }
        };
        let trigger = raw.on.as_ref().and_then(|on| self.trigger(on));
        let from = self.from(&raw.from);
        let pattern = from.as_ref().map(|from| &from.pattern);
        let mut conditions = Vec::new();
        let mut order = OrderBy::default();
        if let Some(pattern) = pattern {
            for text in &raw.conditions {
                match Condition::parse(&text.value, pattern) {
                    Ok(condition) => conditions.push(condition),
                    Err(error) => self.syntax(text, 0, error),
                }
            }
            for name in &raw.order_by {
                if let Err(error) = OrderBy::parse([name.value.as_str()], pattern) {
                    self.syntax(name, 0, error);
                }
            }
            let names = raw.order_by.iter().map(|name| name.value.as_str());
            order = OrderBy::parse(names, pattern).unwrap_or_default();
        }
        let batch = self.batch(raw);
        let sources = self.sources_policy(raw);
        let done = pattern.and_then(|pattern| match raw.operation.value {
            RawOperation::Combine => self.combined(raw, pattern),
            RawOperation::Convert => self.converted(raw, pattern, sources.as_ref()),
            RawOperation::Scatter => self.scattered(raw, pattern),
        });
        if self.problems.len() > before {
            return None;
        }
        let (to, operation) = done?;
        Some(FlowConfig {
            name: flow_name?,
            trigger,
            from: from?,
            conditions,
            order,
            batch,
            to,
            overwrite: if raw.overwrite { Overwrite::Allow } else { Overwrite::Refuse },
            sources: sources?,
            operation,
        })
    }

    fn combined(&mut self, raw: &RawFlow, pattern: &Pattern) -> Option<(Target, Operation)> {
        self.refuse_convert_settings(raw);
        self.refuse_scatter_settings(raw);
        let RawTo::Path(path) = &raw.to.value else {
            self.report(&raw.to.span, "`combine` has one `to`", "write it as a text: `to = \"lake:out/…\"`");
            return None;
        };
        let at = At { value: path.clone(), span: raw.to.span.clone() };
        let to = self.to(&at, pattern);
        self.manifest_variables(raw, &at, pattern, to.as_ref());
        let to = to?;
        let combine = self.combine(raw, &at, pattern, &to.template)?;
        Some((to, Operation::Combine(combine)))
    }

    fn converted(
        &mut self,
        raw: &RawFlow,
        pattern: &Pattern,
        sources: Option<&SourcePolicy>,
    ) -> Option<(Target, Operation)> {
        self.no_manifests(raw, pattern)?;
        if raw.redshift_manifest {
            self.report(&raw.to.span, "`redshift_manifest` belongs to `do = \"combine\"`", "leave it out");
        }
        let (to, convert) = self.convert(raw, pattern, sources)?;
        Some((to, Operation::Convert(Box::new(convert))))
    }

    fn scattered(&mut self, raw: &RawFlow, pattern: &Pattern) -> Option<(Target, Operation)> {
        self.no_manifests(raw, pattern)?;
        let (to, scatter) = self.scatter(raw, pattern)?;
        Some((to, Operation::Scatter(Box::new(scatter))))
    }

    /// Reports what only `combine` is asked for by manifests.
    fn no_manifests(&mut self, raw: &RawFlow, pattern: &Pattern) -> Option<()> {
        if let Some(At { value: RawTrigger { manifests: Some(at), .. }, .. }) = &raw.on {
            self.report(&at.span, "manifests ask for one output each", "they belong to `do = \"combine\"`");
            return None;
        }
        if let Some(name) = pattern.variables().next() {
            let message = format!("`{{{name}}}` is filled from a manifest");
            self.report(&raw.from.span, message, "manifests belong to `do = \"combine\"`");
            return None;
        }
        Some(())
    }

    fn from(&mut self, at: &At<String>) -> Option<Source> {
        let located = self.located(at, PathKind::Keys)?;
        match Pattern::parse(&located.path) {
            Ok(pattern) => Some(Source { store: located.store, pattern }),
            Err(error) => {
                self.syntax(at, located.offset, error);
                None
            }
        }
    }

    pub(super) fn to(&mut self, at: &At<String>, pattern: &Pattern) -> Option<Target> {
        let located = self.located(at, PathKind::Keys)?;
        let template = match Template::parse(&located.path, pattern) {
            Ok(template) => template,
            Err(error) => {
                self.syntax(at, located.offset, error);
                return None;
            }
        };
        if located.path.ends_with('/') {
            let error =
                SyntaxError::hinted(located.path.len() - 1, "`to` ends in `/`", "name an object, not a directory");
            self.syntax(at, located.offset, error);
            return None;
        }
        Some(Target { store: located.store, template })
    }

    /// `{manifest.…}` needs a trigger that brings manifests.
    fn manifest_variables(&mut self, raw: &RawFlow, path: &At<String>, pattern: &Pattern, to: Option<&Target>) {
        let has_manifests = raw.on.as_ref().is_some_and(|on| on.value.manifests.is_some());
        let in_from = pattern.variables().next().map(|name| (name, &raw.from));
        let in_to = to.and_then(|to| to.template.variables().next()).map(|name| (name, path));
        if let Some((name, at)) = in_from.or(in_to)
            && !has_manifests
        {
            let message = format!("`{{{name}}}` is filled from a manifest, but none triggers this flow");
            let offset = at.value.find(&format!("{{{name}}}")).unwrap_or(0);
            self.syntax(at, 0, SyntaxError::hinted(offset, message, "add `on = { manifests = \"lake:watch\" }`"));
        }
    }

    fn trigger(&mut self, on: &At<RawTrigger>) -> Option<Trigger> {
        let RawTrigger { cron, timezone, every, manifests, events, after } = &on.value;
        for (key, value) in [("events", events), ("after", after)] {
            if let Some(value) = value {
                let hint = "this build has `cron`, `every` and `manifests`";
                self.report(&value.span, format!("`on = {{ {key} = … }}` is not in this build"), hint);
                return None;
            }
        }
        if let (None, Some(timezone)) = (cron, timezone) {
            self.report(&timezone.span, "`timezone` belongs to `cron`", "leave it out, or add `cron`");
            return None;
        }
        match (cron, every, manifests) {
            (Some(expression), None, None) => {
                let timezone =
                    timezone.clone().unwrap_or(At { value: "UTC".to_owned(), span: expression.span.clone() });
                if let Err(error) = cron::check(&expression.value) {
                    self.syntax(expression, 0, error);
                    return None;
                }
                if let Err(error) = cron::check_timezone(&timezone.value) {
                    self.syntax(&timezone, 0, error);
                    return None;
                }
                Some(Trigger::Cron { expression: expression.value.clone(), timezone: timezone.value })
            }
            (None, Some(every), None) => {
                let span = self.duration(every)?;
                if span.is_zero() {
                    self.report(&every.span, "`every` is no time at all", "for example `10m`");
                    return None;
                }
                Some(Trigger::Every(span))
            }
            (None, None, Some(place)) => self.place(place).map(Trigger::Manifests),
            (None, None, None) => {
                self.report(
                    &on.span,
                    "`on` names no trigger",
                    "write `{ cron = … }`, `{ every = … }` or `{ manifests = … }`",
                );
                None
            }
            (_, _, _) => {
                self.report(&on.span, "`on` names more than one trigger", "choose one of `cron`, `every`, `manifests`");
                None
            }
        }
    }

    fn batch(&mut self, raw: &RawFlow) -> Batch {
        let min_objects = match raw.operation.value {
            RawOperation::Combine => MIN_OBJECTS,
            RawOperation::Convert | RawOperation::Scatter => 1,
        };
        let mut batch = Batch { max_objects: None, max_bytes: None, min_objects, settle: Span::ZERO };
        let Some(At { value: given, .. }) = &raw.batch else { return batch };
        batch.max_objects = given.max_objects.as_ref().map(|at| at.value);
        if let Some(max) = &given.max_objects
            && max.value == 0
        {
            self.report(&max.span, "a batch of no objects makes no output", "leave `max_objects` out for no limit");
        }
        if let Some(size) = &given.max_bytes {
            match size.value.0.parse::<ByteSize>() {
                Ok(bytes) if bytes.bytes() == 0 => {
                    self.report(
                        &size.span,
                        "a batch of no bytes makes no output",
                        "leave `max_bytes` out for no limit",
                    );
                }
                Ok(bytes) => batch.max_bytes = Some(bytes),
                Err(error) => self.quantity(size.span.clone(), &error),
            }
        }
        if let Some(min) = &given.min_objects {
            batch.min_objects = min.value;
            if min.value == 0 {
                self.report(&min.span, "a group of no objects makes no output", "`1` also rewrites single objects");
            }
        }
        if let Some(max) = &given.max_objects
            && max.value > 0
            && max.value < batch.min_objects
        {
            let message = format!("`max_objects` is less than `min_objects` ({})", batch.min_objects);
            self.report(&max.span, message, "no batch could ever close");
        }
        if let Some(settle) = &given.settle {
            batch.settle = self.duration(settle).unwrap_or_default();
        }
        batch
    }

    pub(super) fn duration(&mut self, at: &At<String>) -> Option<Span> {
        match at.value.parse::<Span>() {
            Ok(span) => Some(span),
            Err(error) => {
                self.quantity(at.span.clone(), &error);
                None
            }
        }
    }

    fn quantity(&mut self, span: std::ops::Range<usize>, error: &QuantityError) {
        self.report(&span, error.to_string(), error.hint().unwrap_or_default());
    }

    fn sources_policy(&mut self, raw: &RawFlow) -> Option<SourcePolicy> {
        let mut policy =
            SourcePolicy { after_commit: AfterCommit::Keep, delay: Span::ZERO, deletes: Deletes::Conditional };
        let Some(At { value: given, span }) = &raw.sources else { return Some(policy) };
        let what = given.after_commit.as_ref().map_or(RawAfterCommit::Keep, |at| at.value);
        if let Some(delay) = &given.delay {
            policy.delay = self.duration(delay)?;
        }
        if given.unconditional_delete {
            policy.deletes = Deletes::Unconditional;
        }
        policy.after_commit = match (what, &given.archive_to) {
            (RawAfterCommit::Keep, None) => AfterCommit::Keep,
            (RawAfterCommit::Delete, None) => AfterCommit::Delete,
            (RawAfterCommit::Archive, Some(to)) => AfterCommit::Archive { to: self.place(to)? },
            (RawAfterCommit::Archive, None) => {
                self.report(span, "`archive` needs to know where to", "add `archive_to = \"lake:old\"`");
                return None;
            }
            (RawAfterCommit::Keep | RawAfterCommit::Delete, Some(to)) => {
                self.report(
                    &to.span,
                    "`archive_to` belongs to `after_commit = \"archive\"`",
                    "leave it out, or archive",
                );
                return None;
            }
        };
        Some(policy)
    }

    fn combine(
        &mut self,
        raw: &RawFlow,
        path: &At<String>,
        pattern: &Pattern,
        template: &Template,
    ) -> Option<CombineConfig> {
        let before = self.problems.len();
        let from = Suffix::of(pattern.literal_suffix());
        let to = Suffix::of(template.literal_suffix());
        for (suffix, at) in [(&from, &raw.from), (&to, path)] {
            if let Some(suffix) = suffix
                && !suffix.is_joinable()
            {
                let message = format!("`.{}` objects cannot be joined end to end", suffix.as_str());
                self.at_end(
                    at,
                    suffix,
                    message,
                    "`combine` stitches bytes: text, or gzip, bzip2, zstd, lz4, snappy frames",
                );
                return None;
            }
        }
        if let (Some(from), Some(to)) = (&from, &to)
            && from.codec() != to.codec()
        {
            let name = |suffix: &Suffix| suffix.codec().unwrap_or("not compressed");
            let message = format!(
                "inputs are {} (`.{}`) and outputs {} (`.{}`)",
                name(from),
                from.as_str(),
                name(to),
                to.as_str()
            );
            self.at_end(path, to, message, "`combine` does not recompress: end `to` in the suffix of `from`");
        }
        let compressed = [&from, &to].into_iter().flatten().find(|suffix| suffix.codec().is_some());
        let separator = match raw.separator.as_ref().map_or(RawSeparator::Auto, |at| at.value) {
            RawSeparator::None => Separator::None,
            RawSeparator::Newline => Separator::Newline,
            RawSeparator::Auto if to.as_ref().or(from.as_ref()).is_some_and(Suffix::is_text) => Separator::Newline,
            RawSeparator::Auto => Separator::None,
        };
        if let (Some(separator), Some(suffix)) = (&raw.separator, compressed)
            && separator.value == RawSeparator::Newline
        {
            let message = format!("nothing can be put between compressed objects (`.{}`)", suffix.as_str());
            self.report(&separator.span, message, "leave `separator` out");
        }
        let header = match &raw.header {
            None => Header::AsData,
            Some(At { value: RawHeader::First, span }) => {
                match &from {
                    Some(suffix) if suffix.may_have_header() => {}
                    Some(suffix) => {
                        let message = format!("`header` is for CSV, `from` ends in `.{}`", suffix.as_str());
                        let hint = match suffix.codec() {
                            Some(_) => "a header inside compressed objects cannot be cut out by `combine`",
                            None => "leave it out: header lines are known in `.csv`, `.tsv`, `.psv` and `.txt`",
                        };
                        self.report(span, message, hint);
                    }
                    None => {
                        let hint = "end `from` in a suffix such as `.csv`";
                        self.report(span, "`header` is for CSV, and `from` does not say what it takes", hint);
                    }
                }
                Header::First
            }
        };
        let check = match raw.check.as_ref().map_or(RawCheck::None, |at| at.value) {
            RawCheck::None => Check::None,
            RawCheck::Decode => Check::Decode,
        };
        if let Some(content_type) = &raw.content_type {
            let token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            let media = content_type.value.split(';').next().unwrap_or_default().trim();
            let fits = media.split_once('/').is_some_and(|(kind, rest)| token(kind) && token(rest));
            if !fits || !content_type.value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                let message = format!("`{}` is no content type", content_type.value);
                self.report(&content_type.span, message, "for example `application/x-ndjson`");
            }
        }
        (self.problems.len() == before).then(|| CombineConfig {
            separator,
            header,
            check,
            redshift_manifest: if raw.redshift_manifest { RedshiftManifest::Beside } else { RedshiftManifest::Absent },
            content_type: raw.content_type.as_ref().map(|at| at.value.clone()),
        })
    }

    /// Reports something about the suffix at the end of a text.
    fn at_end(&mut self, at: &At<String>, suffix: &Suffix, message: String, hint: &str) {
        let offset = at.value.len().saturating_sub(suffix.as_str().len() + 1);
        self.syntax(at, 0, SyntaxError::hinted(offset, message, hint));
    }
}
