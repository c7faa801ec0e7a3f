//! The decisions of the protocol, as pure functions of what was read. The engine calls these and nothing else.

use std::collections::BTreeSet;

use baler_model::ledger::{Account, GroupId, Imbalance, OperationOptions, Outcome, OutputClaim};
use baler_model::{Kind, LogSeq, RunId, TaskId};

use super::files::Marks;
use super::fold::{LedgerState, RunState, RunStatus};

/// Why a plan may not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefusal {
    /// The run is there already: a duplicate trigger found it.
    #[error("run `{run}` is in the log already")]
    Known {
        /// The run.
        run: RunId,
    },
    /// A rival holds or took something that the plan wants: plan again.
    #[error("run `{rival}` shares {what} with this plan")]
    Rival {
        /// The rival run.
        rival: RunId,
        /// What is shared.
        what: String,
    },
    /// An input version is consumed already: plan again.
    #[error("an input is consumed already")]
    Consumed,
}

impl OpenRefusal {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Known { .. } | Self::Rival { .. } | Self::Consumed => Kind::Contended,
        }
    }
}

/// What two runs share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overlap {
    /// Nothing.
    Nothing,
    /// An input version or an output key, named for people.
    Shares(String),
}

/// What of a rival run a plan has to be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// What it holds now: the plan knew all that the log says of it.
    Held,
    /// Everything that it ever claimed, released or not: it wrote an entry that the plan did not know.
    Everything,
}

/// With what of this rival a plan made at `base_seq` has to be compared; `None` with nothing.
pub fn reach(rival: &RunState, base_seq: LogSeq) -> Option<Reach> {
    if rival.last > base_seq {
        return Some(Reach::Everything);
    }
    rival.status.holds_claims().then_some(Reach::Held)
}

/// Decides whether a plan may be opened (protocol section 3, step 5; INV-CLAIM-1).
///
/// `overlap` compares the plan with so much of one rival: input versions and output keys.
/// `consumed` says whether any input version of the plan is in the consumed set of `state`.
pub fn may_open(
    state: &LedgerState,
    run: &RunId,
    base_seq: LogSeq,
    consumed: bool,
    mut overlap: impl FnMut(&RunState, Reach) -> Overlap,
) -> Result<(), OpenRefusal> {
    if state.run(run).is_some() {
        return Err(OpenRefusal::Known { run: run.clone() });
    }
    if consumed {
        return Err(OpenRefusal::Consumed);
    }
    for (rival, reach) in state.runs().iter().filter_map(|r| Some((r, reach(r, base_seq)?))) {
        if let Overlap::Shares(what) = overlap(rival, reach) {
            return Err(OpenRefusal::Rival { rival: rival.run.clone(), what });
        }
    }
    Ok(())
}

/// Compares output claims.
pub fn outputs_overlap(ours: &[OutputClaim], theirs: &[OutputClaim]) -> Overlap {
    let keys: BTreeSet<&str> = theirs
        .iter()
        .filter_map(|c| match c {
            OutputClaim::Key(key, _) => Some(key.as_str()),
            OutputClaim::Prefix(_) => None,
        })
        .collect();
    let prefixes: Vec<&OutputClaim> = theirs.iter().filter(|c| matches!(c, OutputClaim::Prefix(_))).collect();
    for claim in ours {
        let hit = match claim {
            OutputClaim::Key(key, _) => keys.contains(key.as_str()),
            OutputClaim::Prefix(prefix) => {
                keys.range(prefix.as_str()..).next().is_some_and(|key| key.starts_with(prefix.as_str()))
            }
        };
        if hit || prefixes.iter().any(|p| p.overlaps(claim)) {
            return Overlap::Shares(format!("output `{claim}`"));
        }
    }
    Overlap::Nothing
}

/// What the marks of a run add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Groups with a given-up mark, released ones included.
    pub given_up: BTreeSet<GroupId>,
    /// Tasks of groups that are not given up and that have no mark.
    pub unmarked: Vec<TaskId>,
}

/// Adds up the winning marks. `tasks` yields every task of the run with its group.
pub fn tally(
    tasks: impl Iterator<Item = (TaskId, GroupId)> + Clone,
    marks: &Marks,
    released: &BTreeSet<GroupId>,
) -> Tally {
    let mut given_up = released.clone();
    for (task, group) in tasks.clone() {
        if marks.get(&task).is_some_and(|mark| matches!(mark.outcome, Outcome::GivenUp { .. })) {
            given_up.insert(group);
        }
    }
    let unmarked =
        tasks.filter(|(task, group)| !given_up.contains(group) && !marks.contains_key(task)).map(|(t, _)| t).collect();
    Tally { given_up, unmarked }
}

/// What the seal step has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealDecision {
    /// Append `Sealed` with these groups released.
    Seal {
        /// Groups given up.
        released: BTreeSet<GroupId>,
    },
    /// Every group is given up: append `Aborted`.
    Abort,
    /// Not every task is marked yet.
    NotYet,
    /// The run is not where a seal could be appended.
    WrongStatus,
}

/// Decides whether a run may be sealed (protocol section 5; INV-ACCT-1 is checked by [`group_account`]).
pub fn may_seal(status: RunStatus, groups: u32, tally: &Tally) -> SealDecision {
    match status {
        RunStatus::Opened | RunStatus::Sealed => {}
        RunStatus::Withdrawing | RunStatus::Committed | RunStatus::Disposed | RunStatus::Aborted => {
            return SealDecision::WrongStatus;
        }
    }
    if !tally.unmarked.is_empty() {
        return SealDecision::NotYet;
    }
    if tally.given_up.len() as u64 >= u64::from(groups) && status == RunStatus::Opened {
        return SealDecision::Abort;
    }
    SealDecision::Seal { released: tally.given_up.clone() }
}

/// What of an account must balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Bytes: what went in is what came out, but for what was inserted and removed.
    Bytes,
    /// Records: each that went in came out, was set aside, or was left out on request.
    Records,
    /// Records, with SQL between: each that went in was given to it, was set aside, or was left out; each that it gave came out.
    Queried,
}

impl Balance {
    /// What balances under this operation.
    pub fn of(operation: &OperationOptions) -> Self {
        match operation {
            OperationOptions::Combine(_) => Self::Bytes,
            OperationOptions::Convert(options) if options.sql.is_some() => Self::Queried,
            OperationOptions::Convert(_) | OperationOptions::Scatter(_) => Self::Records,
        }
    }
}

/// Checks a group's account against its plan: objects and bytes planned went in, and what went in came out.
pub fn group_account(
    planned_objects: u64,
    planned_bytes: u64,
    balance: Balance,
    account: &Account,
) -> Result<(), Imbalance> {
    if account.objects_in != planned_objects {
        return Err(Imbalance::Planned { what: "objects in", planned: planned_objects, found: account.objects_in });
    }
    if account.bytes_in != planned_bytes {
        return Err(Imbalance::Planned { what: "bytes in", planned: planned_bytes, found: account.bytes_in });
    }
    match balance {
        Balance::Bytes => account.check_bytes(),
        Balance::Records => match account.sql_in {
            None => account.check_records(),
            Some(found) => Err(Imbalance::Planned { what: "records given to SQL", planned: 0, found }),
        },
        Balance::Queried => match account.sql_in {
            None => Err(Imbalance::Uncounted),
            Some(_) => account.check_records(),
        },
    }
}

/// Whether lines of a run's last seal may be published now. Nothing else may ever be.
pub fn may_publish(status: RunStatus) -> bool {
    match status {
        RunStatus::Sealed => true,
        RunStatus::Opened
        | RunStatus::Withdrawing
        | RunStatus::Committed
        | RunStatus::Disposed
        | RunStatus::Aborted => false,
    }
}

/// What was seen of an output that a withdrawal takes back, in the order in which it must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenBack {
    /// It was still staged, and by our call it is not: nobody ever saw it.
    pub given_up: bool,
    /// It was visible, and by our call it is not.
    pub deleted: bool,
    /// `pub/…` of this output exists, read last.
    pub publishing_began: bool,
    /// What an operator says of it.
    pub assume: Assume,
}

/// Whether nobody can have an output of a withdrawn run, so that its claims may be freed (protocol section 6).
pub fn was_taken_back(seen: TakenBack) -> bool {
    seen.given_up || seen.deleted || !seen.publishing_began || seen.assume == Assume::Lost
}

/// What was seen of an output whose upload is gone, in the order in which it must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostUpload {
    /// HEAD shows our output.
    pub ours_is_there: bool,
    /// Where the log says the run stands, read after the HEAD.
    pub status: RunStatus,
    /// The group is released.
    pub released: bool,
    /// `pub/…` of this output exists, read last.
    pub publishing_began: bool,
    /// What an operator says of it.
    pub assume: Assume,
}

/// What an operator says of outputs that may be lost or may be published and consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Assume {
    /// Nothing: such an output blocks its run.
    #[default]
    Nothing,
    /// They were lost: stage them again.
    Lost,
    /// They were published, and a consumer took them away.
    Published,
}

/// What to do about a lost upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedoDecision {
    /// It is published: nothing to do.
    Published,
    /// Stage it again and mark the next generation.
    Redo,
    /// "Expired" and "published, then consumed" look alike: an operator must say which.
    Blocked,
    /// The run or group is over: leave it alone.
    Stop,
}

/// Decides what to do about a lost upload (protocol section 6).
pub fn may_redo(seen: LostUpload) -> RedoDecision {
    if seen.ours_is_there {
        return RedoDecision::Published;
    }
    match seen.status {
        RunStatus::Opened | RunStatus::Sealed => {}
        RunStatus::Withdrawing | RunStatus::Committed | RunStatus::Disposed | RunStatus::Aborted => {
            return RedoDecision::Stop;
        }
    }
    if seen.released {
        return RedoDecision::Stop;
    }
    match (seen.publishing_began, seen.assume) {
        (false, _) | (true, Assume::Lost) => RedoDecision::Redo,
        (true, Assume::Published) => RedoDecision::Published,
        (true, Assume::Nothing) => RedoDecision::Blocked,
    }
}
