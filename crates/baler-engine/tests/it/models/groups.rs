//! Model `groups`: two groups of one run, whose sources and uploads may be lost before and after a seal; late attempts;
//! what is released is never visible, and its claims are free for good.

use super::checker::{breaks, holds};
use super::run::{self, Chances, Rule, Run};

fn world() -> Run {
    let chances = Chances { expiries: 1, removals: 1, ..Chances::default() };
    Run { workers: 2, tasks: 2, outputs: 1, chances, consumed: 0, expiring: !0, gc: false, without: None }
}

#[test]
fn a_lost_group_is_released_unseen_and_the_other_is_committed() {
    holds("groups", &world().machine(), 1_000_000);
}

#[test]
fn without_give_up_by_mark_a_visible_group_is_released() {
    breaks("groups without give-up by mark", &world().without(Rule::GiveUpByMark), &[run::FREED]);
}

#[test]
fn without_released_growing_a_released_group_is_held_again() {
    breaks("groups without released growing", &world().without(Rule::ReleasedOnlyGrows), &[run::HELD_AGAIN]);
}

#[test]
fn without_publishing_what_the_seal_names_an_output_is_visible_too_early() {
    breaks("groups without the seal naming", &world().without(Rule::SealNames), &[run::EARLY]);
}
