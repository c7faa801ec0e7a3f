//! What an operator does who takes a sealed run back, and whoever finishes that.

use baler_engine::ledger::decide::Assume;

use super::work::Go;
use super::{Machine, Object, Rule, Says, Step, Worker, is_staged};

impl Machine {
    pub(super) fn may_withdraw_from(&self, worker: &mut Worker, line: u8) {
        worker.step = match (line..self.lines()).find(|&l| worker.lines[usize::from(l)].is_some()) {
            Some(line) => Step::MayWithdraw(line),
            None => Step::Append(Says::Withdrawing),
        };
    }

    pub(super) fn take_back_from(&self, worker: &mut Worker, line: u8) {
        worker.step = match (line..self.lines()).find(|&l| worker.lines[usize::from(l)].is_some()) {
            Some(line) if self.keeps(Rule::AbortBeforeDelete) => Step::BackAbort(line),
            Some(line) => Step::BackKey(line),
            None => Step::Append(Says::Aborted),
        };
    }

    pub(super) fn withdraw(&self, me: &Worker, go: &mut Go<'_>) {
        let line_of = |line: u8| me.lines[usize::from(line)].expect("a sealed line is a line");
        match me.step {
            Step::MayWithdraw(line) => go("withdraw? looks for pub/ of line", line, &mut |n, w| match self
                .publishing_began(n, line, line_of(line).0)
            {
                true => w.step = Step::MayWithdrawUpload(line),
                false => self.may_withdraw_from(w, line + 1),
            }),
            Step::MayWithdrawUpload(line) => {
                go(
                    "withdraw? looks for the upload of line",
                    line,
                    &mut |n, w| match is_staged(n, line, line_of(line).1) {
                        true => self.may_withdraw_from(w, line + 1),
                        false => w.step = Step::MayWithdrawKey(line),
                    },
                )
            }
            Step::MayWithdrawKey(line) => go("withdraw? looks at the key of line", line, &mut |n, w| match n.keys
                [usize::from(line)]
                == Object::Ours(line_of(line).1)
            {
                true => self.may_withdraw_from(w, line + 1),
                false => w.step = Step::Start,
            }),
            Step::BackAbort(line) => go("withdraw: aborts the upload of line", line, &mut |n, w| {
                let (_, attempt) = line_of(line);
                let was_staged = is_staged(n, line, attempt);
                n.staged[usize::from(attempt)] &= !(1 << line);
                w.step = Step::BackKey(line);
                if was_staged {
                    // What was still staged was never visible.
                    self.take_back_from(w, line + 1);
                }
            }),
            Step::BackKey(line) => go("withdraw: looks at the key of line", line, &mut |n, w| {
                let (_, attempt) = line_of(line);
                w.step = match n.keys[usize::from(line)] == Object::Ours(attempt) {
                    true => Step::BackDelete(line, attempt),
                    false => Step::BackPub(line),
                };
            }),
            Step::BackDelete(line, attempt) => go("withdraw: deletes line", line, &mut |n, w| {
                let key = &mut n.keys[usize::from(line)];
                match *key == Object::Ours(attempt) {
                    true => {
                        *key = Object::Nothing;
                        self.take_back_from(w, line + 1);
                    }
                    false => w.step = Step::BackPub(line),
                }
            }),
            Step::BackPub(line) => go("withdraw: looks for pub/ of line", line, &mut |n, w| {
                let (generation, attempt) = line_of(line);
                let may_be_taken = self.publishing_began(n, line, generation)
                    && self.assumed(w, line, attempt) != Assume::Lost
                    && self.keeps(Rule::WithdrawalLooks);
                match may_be_taken {
                    true => w.step = Step::Blocked { line, attempt },
                    false => self.take_back_from(w, line + 1),
                }
            }),
            _ => unreachable!("steps of a withdrawal only"),
        }
    }
}
