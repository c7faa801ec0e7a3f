//! Lists everything below a prefix, in parallel where that helps, sorted by key bytes.
//!
//! 1. The first page is listed plainly. When it is the only one, that is all: one request.
//! 2. Else prefixes are expanded level by level with folded listings, those that cannot hold anything wanted are cut
//!    off, until there are enough of them to work on in parallel.
//! 3. The prefixes found, in order, are cut into ranges of neighbours; each range is listed plainly, from its first
//!    prefix up to where the next range begins, so many small prefixes share their pages.
//!
//! A directory answers with everything in one page, so there only step 2 pays, where it cuts something off.
//!
//! Cost: the pages of a sequential listing, one more for each range, and the folded pages (at most [`FOLDED_PAGES`] for
//! each prefix expanded). Memory: the objects, once, plus the order of the ranges.

use std::sync::Arc;

use baler_model::InputVersion;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{ListRequest, Page, Result, Store, StoreKind};

/// Folded pages of one prefix that are read before its rest is listed plainly: what has that many prefixes has enough.
const FOLDED_PAGES: usize = 4;
/// Levels that are expanded at most.
const LEVELS: usize = 16;
/// Ranges for each of the listings that run at the same time: more even out differences in size.
const RANGES_EACH: usize = 4;
/// Keys between two prefixes of one level from which on they are not listed again within a range.
const GAP: usize = 500;

/// All objects below a prefix.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The objects, sorted by key bytes.
    pub objects: Vec<InputVersion>,
    /// Names that could not be read as keys; see [`Page::unreadable`].
    pub unreadable: u64,
}

/// Whether a prefix (ending in `/`) may hold anything wanted.
pub type Wanted<'a> = &'a (dyn Fn(&str) -> bool + Sync);

/// Lists everything below `prefix` with at most `concurrency` requests at a time.
///
/// `wanted` cuts off prefixes to save requests; keys below a prefix that is not wanted may or may not be returned.
/// Errors: those of [`Store::list`].
pub async fn list_all(store: &Arc<dyn Store>, prefix: &str, concurrency: usize, wanted: Wanted<'_>) -> Result<Listing> {
    let lister = Lister { store: &**store, concurrency: concurrency.max(1), wanted };
    match store.info().kind {
        StoreKind::Directory => lister.directory(prefix).await,
        StoreKind::S3 | StoreKind::Gcs | StoreKind::Memory => lister.pages(prefix).await,
        StoreKind::Azure => lister.in_turn(prefix).await,
    }
}

struct Lister<'a> {
    store: &'a dyn Store,
    concurrency: usize,
    wanted: Wanted<'a>,
}

/// A stretch of keys, in key order with its neighbours.
#[derive(Debug)]
enum Stretch {
    /// Objects that a folded listing showed.
    Objects(Vec<InputVersion>),
    /// Everything below a prefix, not listed yet.
    Prefix(String),
    /// What folded listings did not get to, not listed yet.
    Rest(Range),
}

/// Keys that one task lists: below `prefix`, at least `from`, less than `until`.
#[derive(Debug)]
struct Range {
    prefix: String,
    from: Option<String>,
    until: Option<String>,
    after: Option<String>,
}

impl Lister<'_> {
    /// One page after the other: Azure cannot begin a listing behind a key, so ranges would cost what all of it costs.
    async fn in_turn(&self, prefix: &str) -> Result<Listing> {
        let mut request = ListRequest { prefix: prefix.into(), ..ListRequest::default() };
        let (mut objects, mut unreadable) = (Vec::new(), 0);
        loop {
            let page = self.store.list(&request).await?;
            objects.extend(page.objects);
            unreadable += page.unreadable;
            match page.next {
                Some(next) => request.token = Some(next),
                None => return Ok(finish(objects, unreadable)),
            }
        }
    }

    async fn pages(&self, prefix: &str) -> Result<Listing> {
        let first = self.store.list(&ListRequest { prefix: prefix.into(), ..ListRequest::default() }).await?;
        if first.next.is_none() {
            return Ok(Listing { objects: first.objects, unreadable: first.unreadable });
        }
        let mut stretches = vec![Stretch::Prefix(prefix.into())];
        let mut unreadable = 0;
        for _ in 0..LEVELS {
            let waiting = stretches.iter().filter(|s| matches!(s, Stretch::Prefix(_))).count();
            if waiting == 0 || waiting >= self.concurrency * RANGES_EACH {
                break;
            }
            // A single prefix left: wide trees are cut by expanding, and a flat one costs what listing it costs.
            let (next, seen) = self.expand(stretches).await?;
            stretches = next;
            unreadable += seen;
        }
        let ranges = self.ranges(stretches);
        let listed = stream::iter(ranges).map(|range| self.range(range)).buffered(self.concurrency);
        let (objects, seen) = listed
            .try_fold((Vec::new(), 0), |(mut all, count), (objects, seen)| async move {
                all.extend(objects);
                Ok((all, count + seen))
            })
            .await?;
        Ok(finish(objects, unreadable + seen))
    }

    /// Expands each prefix by one level.
    async fn expand(&self, stretches: Vec<Stretch>) -> Result<(Vec<Stretch>, u64)> {
        let expanded = stream::iter(stretches).map(|stretch| async {
            match stretch {
                Stretch::Prefix(prefix) => self.expand_one(prefix).await,
                Stretch::Objects(_) | Stretch::Rest(_) => Ok((vec![stretch], 0)),
            }
        });
        let all: Vec<(Vec<Stretch>, u64)> = expanded.buffered(self.concurrency).try_collect().await?;
        let unreadable = all.iter().map(|(_, seen)| seen).sum();
        Ok((all.into_iter().flat_map(|(stretches, _)| stretches).collect(), unreadable))
    }

    async fn expand_one(&self, prefix: String) -> Result<(Vec<Stretch>, u64)> {
        let mut request = ListRequest { prefix, folded: true, ..ListRequest::default() };
        let (mut stretches, mut unreadable, mut pages, mut prefixes) = (Vec::new(), 0, 0, 0);
        loop {
            let page = self.store.list(&request).await?;
            pages += 1;
            prefixes += page.prefixes.len();
            unreadable += page.unreadable;
            let behind = behind(&page);
            stretches.extend(in_order(page.objects, page.prefixes));
            match (page.next, behind) {
                (None, _) => break,
                (Some(_), Some((after, from)))
                    if pages >= FOLDED_PAGES && prefixes >= self.concurrency * RANGES_EACH =>
                {
                    let prefix = request.prefix;
                    stretches.push(Stretch::Rest(Range { prefix, from, until: None, after: Some(after) }));
                    break;
                }
                (Some(next), _) => request.token = Some(next),
            }
        }
        stretches.retain(|stretch| match stretch {
            Stretch::Prefix(prefix) => (self.wanted)(prefix),
            Stretch::Objects(_) | Stretch::Rest(_) => true,
        });
        Ok((stretches, unreadable))
    }

    /// Cuts stretches, which are in order, into ranges; objects already known come with the range before them.
    fn ranges(&self, stretches: Vec<Stretch>) -> Vec<Work> {
        let prefixes = stretches.iter().filter(|s| matches!(s, Stretch::Prefix(_))).count();
        let each = prefixes.div_ceil(self.concurrency * RANGES_EACH).max(1);
        let mut ranges: Vec<Work> = Vec::new();
        // Prefixes of the range that is being gathered, and few objects between them.
        let mut gathered: Vec<String> = Vec::new();
        let mut between: Vec<InputVersion> = Vec::new();
        let close = |gathered: &mut Vec<String>, between: &mut Vec<InputVersion>, ranges: &mut Vec<Work>| {
            if let Some(range) = range_over(gathered) {
                ranges.push(Work::List(range));
            }
            gathered.clear();
            ranges.push(Work::Known(std::mem::take(between)));
        };
        for stretch in stretches {
            match stretch {
                Stretch::Prefix(prefix) => {
                    if gathered.len() >= each {
                        close(&mut gathered, &mut between, &mut ranges);
                    }
                    gathered.push(prefix);
                }
                Stretch::Objects(objects) => {
                    let many = objects.len() >= GAP;
                    between.extend(objects);
                    if many {
                        close(&mut gathered, &mut between, &mut ranges);
                    }
                }
                Stretch::Rest(range) => {
                    close(&mut gathered, &mut between, &mut ranges);
                    ranges.push(Work::List(range));
                }
            }
        }
        close(&mut gathered, &mut between, &mut ranges);
        ranges
    }

    async fn range(&self, work: Work) -> Result<(Vec<InputVersion>, u64)> {
        let range = match work {
            Work::Known(objects) => return Ok((objects, 0)),
            Work::List(range) => range,
        };
        let mut request = ListRequest { prefix: range.prefix, start_after: range.after, ..ListRequest::default() };
        let (mut objects, mut unreadable) = (Vec::new(), 0);
        loop {
            let page = self.store.list(&request).await?;
            unreadable += page.unreadable;
            let (page, next) = (page.objects, page.next);
            let past = |key: &str| range.until.as_deref().is_some_and(|until| key >= until);
            let done = page.last().is_some_and(|last| past(last.key.as_str()));
            let before = |key: &str| range.from.as_deref().is_some_and(|from| key < from);
            objects.extend(page.into_iter().filter(|o| !before(o.key.as_str()) && !past(o.key.as_str())));
            match next {
                Some(next) if !done => request.token = Some(next),
                Some(_) | None => return Ok((objects, unreadable)),
            }
        }
    }

    /// Walks a directory: as long as the level above had something to cut off, level by level, then whole.
    async fn directory(&self, prefix: &str) -> Result<Listing> {
        let mut whole = Vec::new();
        let mut known = Vec::new();
        let mut unreadable = 0;
        let mut level = vec![prefix.to_owned()];
        while !level.is_empty() {
            let pages = stream::iter(level).map(|prefix| async {
                let request = ListRequest { prefix: prefix.clone(), folded: true, ..ListRequest::default() };
                self.store.list(&request).await.map(|page| (prefix, page))
            });
            let pages: Vec<(String, Page)> = pages.buffer_unordered(self.concurrency).try_collect().await?;
            level = Vec::new();
            for (prefix, page) in pages {
                let wanted: Vec<&String> = page.prefixes.iter().filter(|p| (self.wanted)(p)).collect();
                if wanted.len() == page.prefixes.len() && !wanted.is_empty() {
                    whole.push(prefix);
                    continue;
                }
                level.extend(wanted.into_iter().cloned());
                known.extend(page.objects);
                unreadable += page.unreadable;
            }
        }
        let pages = stream::iter(whole)
            .map(|prefix| async { self.store.list(&ListRequest { prefix, ..ListRequest::default() }).await });
        let pages: Vec<Page> = pages.buffer_unordered(self.concurrency).try_collect().await?;
        for page in pages {
            unreadable += page.unreadable;
            known.extend(page.objects);
        }
        Ok(finish(known, unreadable))
    }
}

/// What one task brings in.
#[derive(Debug)]
enum Work {
    /// Objects that a folded listing showed.
    Known(Vec<InputVersion>),
    /// A range to list.
    List(Range),
}

/// One range over neighbouring prefixes.
fn range_over(prefixes: &[String]) -> Option<Range> {
    let (first, last) = (prefixes.first()?, prefixes.last()?);
    if prefixes.len() == 1 {
        return Some(Range { prefix: first.clone(), from: None, until: None, after: None });
    }
    let common = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    let common = (0..=common).rev().find(|&n| first.is_char_boundary(n)).unwrap_or(0);
    // Nearly all keys between this text and the first prefix begin like the text; the few that do not are filtered out.
    // (The prefix itself may be a key, so the range cannot just begin behind it.)
    let after = format!("{}.~", first.strip_suffix('/').unwrap_or(first));
    // `0` follows `/`: every key below the last prefix is less than this.
    let until = format!("{}0", last.strip_suffix('/').unwrap_or(last));
    Some(Range {
        prefix: first[..common].to_owned(),
        from: Some(first.clone()),
        until: Some(until),
        after: Some(after),
    })
}

/// Where the keys begin that a folded page does not account for: `(start_after, from)`.
///
/// Behind a folded prefix they begin with its `/` counted up; nearly all keys below it are skipped by the first text, the
/// others filtered out by the second.
fn behind(page: &Page) -> Option<(String, Option<String>)> {
    let object = page.objects.last().map(|o| o.key.as_str());
    match page.prefixes.last() {
        Some(prefix) if object.is_none_or(|object| object < prefix.as_str()) => {
            let from = format!("{}0", prefix.strip_suffix('/').unwrap_or(prefix));
            Some((format!("{prefix}~"), Some(from)))
        }
        Some(_) | None => object.map(|object| (object.to_owned(), None)),
    }
}

/// Merges what one folded page showed, in key order.
fn in_order(objects: Vec<InputVersion>, prefixes: Vec<String>) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut objects = objects.into_iter().peekable();
    for prefix in prefixes {
        let before: Vec<_> = std::iter::from_fn(|| objects.next_if(|o| o.key.as_str() < prefix.as_str())).collect();
        if !before.is_empty() {
            stretches.push(Stretch::Objects(before));
        }
        stretches.push(Stretch::Prefix(prefix));
    }
    let rest: Vec<_> = objects.collect();
    if !rest.is_empty() {
        stretches.push(Stretch::Objects(rest));
    }
    stretches
}

/// Sorts, and keeps one of what two listings showed; of two versions the one with the later time.
fn finish(mut objects: Vec<InputVersion>, unreadable: u64) -> Listing {
    if !objects.is_sorted_by(|a, b| a.key < b.key) {
        objects.sort_by(|a, b| a.key.cmp(&b.key).then(b.modified.cmp(&a.modified)));
        objects.dedup_by(|later, kept| later.key == kept.key);
    }
    Listing { objects, unreadable }
}

#[cfg(test)]
mod tests;
