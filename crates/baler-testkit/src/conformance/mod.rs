//! Holds a store to the promises of its contract (`baler_store::Store`), claim by claim.
//!
//! Each check is a function named as the claim that it makes; [`run`] runs all of them against one store and names
//! those that do not hold. A check works under a prefix of its own, so that one store serves all of them. What a store
//! is known to do otherwise is said by its [`Expect`], never by leaving a check out silently.

#![allow(clippy::unwrap_used, reason = "a check is a test: it panics where its claim does not hold")]

mod copies;
mod deletes;
mod keys;
mod lists;
mod publishing;
mod puts;
mod reads;
mod staging;

use std::sync::Arc;

use baler_model::Key;
use baler_store::Store;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::fixtures;

/// Whether the store keeps the write id of `put_if_absent` with the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteIds {
    /// It does, as metadata.
    Kept,
    /// It cannot, as a directory: an author knows his write by its bytes.
    ByBody,
}

/// Which keys the store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// All that S3 takes.
    All,
    /// Some are refused with `Unsupported`, as a file system must; what is taken is kept byte for byte.
    SomeRefused,
}

/// Whether objects carry the stamp of the attempt that staged them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// `head` shows it.
    Shown,
    /// A directory has no place for it.
    Absent,
}

/// Whether giving staged bytes up shows that they were never visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborts {
    /// It does: publishing takes the staged bytes away.
    Tell,
    /// It never does: publishing copies or links, and removes the staged bytes afterwards.
    Silent,
}

/// A promise that a server is known to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deviation {
    /// Publishing under `Precondition::Matches` replaces whatever is there. moto 5.2 ignores `If-Match` on completion.
    ReplacesAnyVersion,
    /// `delete_if` deletes whatever is there. Garage.
    DeletesAnyVersion,
    /// Two racers may both create: the server ignores conditions, or looks before it writes. Garage, s3s-fs.
    CreatesTwice,
    /// Keys with a line break are not found by the server's own router. moto 5.2.
    RefusesLineBreaks,
}

/// What a store is expected to do where the contract leaves a choice, and how hard it is tried.
#[derive(Debug, Clone)]
pub struct Expect {
    /// Whether write ids are kept.
    pub write_ids: WriteIds,
    /// Which keys are taken.
    pub keys: Keys,
    /// Whether stamps are shown.
    pub stamps: Stamps,
    /// What aborts tell.
    pub aborts: Aborts,
    /// Promises that are known to be broken.
    pub deviations: Vec<Deviation>,
    /// How often each race is run.
    pub rounds: usize,
    /// How many race.
    pub racers: usize,
    /// How many objects the paging checks list; more than a page, or they check little.
    pub listed: usize,
}

impl Expect {
    /// A store that keeps every promise and takes every key: S3, memory.
    pub fn object_store() -> Self {
        Self {
            write_ids: WriteIds::Kept,
            keys: Keys::All,
            stamps: Stamps::Shown,
            aborts: Aborts::Tell,
            deviations: Vec::new(),
            rounds: 10,
            racers: 8,
            listed: 25,
        }
    }

    /// A directory.
    pub fn directory() -> Self {
        Self { write_ids: WriteIds::ByBody, keys: Keys::SomeRefused, stamps: Stamps::Absent, ..Self::object_store() }
    }

    /// The same, but for promises that are known to be broken.
    #[must_use]
    pub fn deviating(mut self, deviations: impl IntoIterator<Item = Deviation>) -> Self {
        self.deviations.extend(deviations);
        self
    }

    fn deviates(&self, deviation: Deviation) -> bool {
        self.deviations.contains(&deviation)
    }
}

/// What a check gets: a store, what to expect of it, and a prefix of its own.
#[derive(Debug, Clone)]
pub struct Subject {
    store: Arc<dyn Store>,
    expect: Expect,
    prefix: String,
}

impl Subject {
    fn name(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    fn key(&self, rest: &str) -> Key {
        fixtures::key(&self.name(rest))
    }

    /// Bytes that are enough for a part that is not the last, and not a round number of them.
    fn part(&self, seed: u64) -> Bytes {
        fixtures::random_bytes(seed, self.store.info().parts.min.max(1000) as usize + 17)
    }
}

/// A claim and the check that tries it.
pub struct Check {
    /// The claim.
    pub claim: &'static str,
    run: fn(Subject) -> BoxFuture<'static, ()>,
}

macro_rules! checks {
    ($($module:ident: $($claim:ident),+ $(,)?);+ $(;)?) => {
        /// All checks, in the order in which [`run`] runs them.
        pub const CHECKS: &[Check] = &[$($(Check {
            claim: stringify!($claim),
            run: |subject| Box::pin($module::$claim(subject)),
        }),+),+];
    };
}

checks!(
    puts: the_first_put_creates_and_the_second_finds_it,
        a_repeated_put_knows_its_own_write,
        racing_puts_have_one_winner,
        a_put_replaces_and_changes_the_version,
        an_empty_object_is_an_object;
    lists: a_listing_is_sorted_by_key_bytes,
        a_listing_agrees_with_head,
        a_prefix_is_matched_byte_for_byte,
        a_folded_listing_shows_one_level,
        a_listing_starts_behind_the_given_key,
        pages_hold_every_key_once_and_in_order,
        folded_pages_hold_every_prefix_once_and_in_order,
        a_listing_shows_what_was_just_written_and_not_what_was_just_deleted,
        a_prefix_without_objects_lists_nothing;
    reads: a_read_returns_what_was_written,
        a_range_returns_its_bytes,
        a_range_is_clipped_at_the_end,
        a_range_behind_the_end_is_empty,
        a_pinned_read_refuses_another_version,
        a_missing_object_is_not_found;
    staging: what_is_staged_is_invisible,
        parts_are_joined_by_their_numbers,
        a_part_written_again_replaces_the_first,
        an_aborted_output_is_gone,
        a_published_output_is_not_given_up,
        a_staged_listing_names_what_can_be_aborted,
        an_output_without_bytes_becomes_an_empty_object,
        pieces_of_a_part_are_joined;
    publishing: a_published_output_is_ours,
        an_output_is_not_published_over_a_foreign_object,
        a_replacement_needs_the_recorded_version,
        a_replacement_of_nothing_says_so,
        whatever_is_there_is_replaced_when_asked,
        a_repeated_publish_is_safe,
        a_publish_repeated_after_a_delete_brings_nothing_back,
        racing_publishers_of_rival_outputs_have_one_winner,
        racing_publishers_of_one_output_all_see_it_published,
        racing_replacements_have_one_winner,
        an_output_replaced_by_others_is_foreign,
        nothing_there_is_confirmed_as_absent;
    copies: copied_parts_hold_their_ranges,
        copied_and_written_parts_mix,
        a_changed_source_is_not_copied,
        a_missing_source_is_not_copied;
    deletes: a_delete_takes_the_planned_version_only,
        racing_deletes_have_one_winner,
        a_delete_of_nothing_is_fine,
        a_delete_races_a_replacement_without_losing_it;
    keys: odd_keys_are_kept_byte_for_byte_or_refused,
        keys_that_look_alike_are_different_objects,
        a_key_of_1024_bytes_is_kept_or_refused,
        odd_keys_can_be_staged_and_published;
);

/// Runs every check against one store.
///
/// # Panics
/// When a claim does not hold; the message names all of them.
pub async fn run(store: Arc<dyn Store>, expect: Expect) {
    let wanted = CHECKS.iter().map(|check| check.claim);
    run_claims(store, expect, wanted).await;
}

/// Runs the checks of these claims.
///
/// # Panics
/// When a claim does not hold, or there is no such claim.
pub async fn run_claims<'a>(store: Arc<dyn Store>, expect: Expect, claims: impl IntoIterator<Item = &'a str>) {
    let broken = broken_claims(store.clone(), expect, claims).await;
    let text: String = broken.iter().map(|(claim, reason)| format!("\n{claim}: {reason}")).collect();
    assert!(broken.is_empty(), "`{}` breaks {} claims:{text}", store.info().name, broken.len());
}

/// Runs the checks of these claims and returns those that do not hold, with the reasons.
///
/// # Panics
/// When there is no such claim.
pub async fn broken_claims<'a>(
    store: Arc<dyn Store>,
    expect: Expect,
    claims: impl IntoIterator<Item = &'a str>,
) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    for claim in claims {
        let check = CHECKS.iter().find(|check| check.claim == claim);
        let check = check.unwrap_or_else(|| panic!("there is no claim `{claim}`"));
        let subject = Subject { store: store.clone(), expect: expect.clone(), prefix: format!("{claim}/") };
        // A task of its own, so that one claim that does not hold does not keep the others from being tried.
        if let Err(error) = tokio::spawn((check.run)(subject)).await {
            let reason = match error.try_into_panic() {
                Ok(panic) => text_of(&*panic),
                Err(error) => error.to_string(),
            };
            broken.push((check.claim, reason));
        }
    }
    broken
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "panicked".to_owned())
}

/// Runs one future per racer at once and returns what each came to, in the order of the racers.
async fn race<T, F>(racers: usize, start: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let line = Arc::new(tokio::sync::Barrier::new(racers));
    let tasks: Vec<_> = (0..racers)
        .map(|racer| {
            let (line, racing) = (line.clone(), start(racer));
            tokio::spawn(async move {
                line.wait().await;
                racing.await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(racers);
    for task in tasks {
        results.push(task.await.expect("racers do not panic"));
    }
    results
}
