//! Model `task`: one task of one run, with two or three workers, somebody who overwrites the source, a consumer that takes
//! outputs away, an operator who aborts, withdraws and answers, and uploads that expire.

use super::checker::{WEDGE, breaks, holds};
use super::run::{self, Chances, Rule, Run};

/// All lines.
const ALL: u8 = !0;

fn world() -> Run {
    let chances = Chances { expiries: 1, overwrites: 1, aborts: 1, ..Chances::default() };
    Run { workers: 2, tasks: 1, outputs: 1, chances, consumed: ALL, expiring: ALL, gc: false, without: None }
}

/// Nobody aborts or withdraws.
fn without_operator() -> Run {
    let chances = Chances { aborts: 0, ..world().chances };
    Run { chances, ..world() }
}

/// An output, and a manifest beside it.
fn two_outputs() -> Run {
    Run { outputs: 2, consumed: 0, ..without_operator() }
}

/// The same with a consumer of the output, while the manifest's upload expires; nobody overwrites the source.
fn two_outputs_consumed() -> Run {
    let chances = Chances { expiries: 1, ..Chances::default() };
    Run { outputs: 2, consumed: 1, expiring: 2, chances, ..world() }
}

#[test]
fn two_workers_and_an_operator_lose_nothing_and_double_nothing() {
    holds("task", &world().machine(), 600_000);
}

#[test]
fn three_workers_lose_nothing_and_double_nothing() {
    let chances = Chances::default();
    holds("task, three workers", &Run { workers: 3, chances, ..world() }.machine(), 200_000);
}

#[test]
fn workers_that_sleep_through_gc_do_no_harm() {
    let chances = Chances { overwrites: 0, ..world().chances };
    holds("task, gc", &Run { gc: true, chances, ..world() }.machine(), 300_000);
}

#[test]
fn an_object_of_somebody_else_stays_as_it_is() {
    holds("task, somebody else's object", &foreign().machine(), 20_000);
}

fn foreign() -> Run {
    let chances = Chances { foreign: 1, overwrites: 1, ..Chances::default() };
    Run { chances, ..world() }
}

#[test]
fn two_outputs_of_one_task_are_published_both_or_neither() {
    holds("task, two outputs", &two_outputs().machine(), 500_000);
}

#[test]
fn two_outputs_are_delivered_once_each() {
    holds("task, two outputs and a consumer", &two_outputs_consumed().machine(), 800_000);
}

#[test]
fn without_conditional_delete_a_newer_version_is_lost() {
    breaks("task without conditional delete", &world().without(Rule::ConditionalDelete), &[run::NEWER_LOST]);
}

#[test]
fn without_create_only_publish_somebody_elses_object_is_lost() {
    breaks("task without create-only publish", &foreign().without(Rule::CreateOnlyPublish), &[run::TRAMPLED]);
}

#[test]
fn without_mark_generations_claims_are_freed_while_an_output_is_visible() {
    let machine = without_operator().without(Rule::MarkGenerations);
    breaks("task without mark generations", &machine, &[run::FREED, run::TWICE]);
}

#[test]
fn without_attempt_ids_a_late_attempt_doubles_an_output() {
    breaks("task without attempt ids", &world().without(Rule::AttemptId), &[run::TWICE]);
}

#[test]
fn without_pub_an_output_that_was_taken_away_is_made_again() {
    breaks("task without pub", &without_operator().without(Rule::Pub), &[run::TWICE, run::FREED]);
}

#[test]
fn without_looking_for_the_upload_first_an_operator_is_asked_for_nothing() {
    breaks("task without looking for the upload", &foreign().without(Rule::UploadFirst), &[run::NEEDLESS]);
}

#[test]
fn without_looking_before_redo_an_operator_is_asked_for_nothing() {
    breaks("task without looking before redo", &world().without(Rule::LookBeforeRedo), &[run::NEEDLESS]);
}

#[test]
fn without_pub_of_earlier_generations_a_repeated_output_is_doubled() {
    let machine = two_outputs_consumed().without(Rule::EarlierPub);
    breaks("task without earlier pub", &machine, &[run::TWICE]);
}

#[test]
fn without_freezing_before_redo_a_late_worker_spoils_what_another_saved() {
    let machine = two_outputs().without(Rule::RedoFreezes);
    breaks("task without freezing before redo", &machine, &[run::SPOILED, run::FREED]);
}

#[test]
fn without_naming_the_upload_an_operators_word_doubles_a_later_one() {
    let machine = without_operator().without(Rule::StatementNamesUpload);
    breaks("task without naming the upload", &machine, &[run::TWICE, run::FREED]);
}

#[test]
fn without_hearing_the_operator_a_lost_source_wedges_the_run() {
    breaks("task without hearing the operator", &without_operator().without(Rule::GiveUpHears), &[WEDGE]);
}

#[test]
fn without_looking_for_deliveries_a_withdrawal_frees_what_was_taken() {
    breaks("task, blind withdrawal", &world().without(Rule::WithdrawalLooks), &[run::FREED]);
}

#[test]
fn without_aborting_first_a_withdrawn_output_appears_later() {
    breaks("task, withdrawal deletes first", &world().without(Rule::AbortBeforeDelete), &[run::FREED]);
}
