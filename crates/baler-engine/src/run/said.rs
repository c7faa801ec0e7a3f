//! What an operator says of a run's outputs, and of which.
//!
//! "It was lost" is true of an output that the operator looked at. Of one that a consumer takes away a moment later it is
//! not, and making that again would double its records; likewise "it was published" of one whose upload expires later
//! would lose them. So a word counts for what is neither staged nor there when the command begins, and nothing else.

use std::collections::BTreeSet;

use baler_model::ledger::{Outcome, SealedOutput};
use baler_model::{AttemptId, Key, Staged};
use baler_store::Confirmation;

use super::{DriveOptions, Foreign};
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::Assume;
use crate::ledger::{Marks, Plan, RunState};

/// What is said while a run is driven.
#[derive(Debug, Default)]
pub(super) struct Said {
    assume: Assume,
    of: BTreeSet<(Key, AttemptId)>,
    foreign: Foreign,
}

impl Said {
    /// Looks which outputs are missing now. Cost: nothing where nothing is assumed.
    pub(super) async fn now(
        flow: &Flow,
        known: &RunState,
        plan: &Plan,
        options: &DriveOptions,
    ) -> Result<Self, EngineError> {
        let mut said = Self { assume: options.assume, of: BTreeSet::new(), foreign: options.foreign };
        match options.assume {
            Assume::Nothing => return Ok(said),
            Assume::Lost | Assume::Published => {}
        }
        let wrap = flow.ledger_error();
        let run = &plan.header.run;
        let mut outputs: Vec<Staged> = Vec::new();
        let marks = flow.ledger.read_marks(run, Marks::new()).await.map_err(&wrap)?;
        if let Some(sha) = &known.seal {
            // What was staged again since the seal was lost: somebody said so, or publishing it never began. A later word
            // that others were published is not said of it, or it would be committed and never be there.
            let again = |o: &SealedOutput| marks.get(&o.task).is_some_and(|mark| mark.generation > o.generation);
            let meant = |o: &SealedOutput| options.assume == Assume::Lost || !again(o);
            let sealed = flow.ledger.read_seal(run, sha).await.map_err(&wrap)?;
            outputs.extend(sealed.outputs.into_iter().filter(meant).map(|output| output.staged));
        }
        for mark in marks.into_values() {
            match mark.outcome {
                Outcome::Staged { outputs: staged, .. } => outputs.extend(staged),
                Outcome::Taken(_) | Outcome::GivenUp { .. } => {}
            }
        }
        outputs.retain(|staged| options.assume_of.is_empty() || options.assume_of.contains(&staged.key));
        for staged in outputs {
            let ours = async {
                Ok::<_, EngineError>(matches!(flow.target.confirm(&staged).await?, Confirmation::Ours { .. }))
            };
            if !flow.target.staged_exists(&staged).await? && !ours.await? {
                said.of.insert((staged.key, staged.stamp.attempt));
            }
        }
        Ok(said)
    }

    /// What is said of this very output.
    pub(super) fn of(&self, staged: &Staged) -> Assume {
        match self.of.contains(&(staged.key.clone(), staged.stamp.attempt.clone())) {
            true => self.assume,
            false => Assume::Nothing,
        }
    }

    /// What may be done about foreign objects.
    pub(super) fn foreign(&self) -> Foreign {
        self.foreign
    }
}
