//! Opens a run: writes plan and claims, appends `Opened` (protocol section 3, step 5; INV-CLAIM-1, INV-RUN-1).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use baler_model::RunId;
use baler_model::ledger::{Claim, ContentHash, Event, Trigger};

use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::{OpenRefusal, Overlap, Reach, may_open, outputs_overlap, reach};
use crate::ledger::{Appended, LedgerState, PlanClaims, RunState};
use crate::plan::Planned;

/// What became of a plan.
#[derive(Debug)]
pub enum Opened {
    /// It is open; its claims are held.
    Opened(RunId),
    /// A run of that id is there already: a duplicate trigger found it.
    Known(RunId),
    /// Somebody else was first: plan again.
    PlanAgain(OpenRefusal),
}

/// Opens a plan, or says why it may not be opened.
///
/// What a crash leaves: plan and claims that no entry names. They stay: their author may only sleep, and open them yet.
/// Cost: three PUTs, and one GET per rival.
pub async fn open(flow: &Flow, state: &mut LedgerState, planned: &Planned) -> Result<Opened, EngineError> {
    let wrap = flow.ledger_error();
    let header = &planned.plan.header;
    let run = &header.run;
    let ours = planned.plan.claims();
    let (plan, claims) = flow.ledger.write_plan(&planned.plan, &ours).await.map_err(&wrap)?;
    let mut rivals: BTreeMap<(RunId, Reach), Overlap> = BTreeMap::new();
    flow.ledger.refresh(state).await.map_err(&wrap)?;
    loop {
        // What rivals claim is read before the decision, which is made on the very state that is appended to.
        // What a rival holds cannot change without an entry behind `base_seq`, and then everything counts.
        for (rival, reach) in state.runs().iter().filter_map(|r| Some((r, reach(r, header.base_seq)?))) {
            if let Entry::Vacant(unknown) = rivals.entry((rival.run.clone(), reach)) {
                unknown.insert(compare(flow, rival, reach, planned, &ours).await?);
            }
        }
        let overlap = |rival: &RunState, reach: Reach| {
            rivals.get(&(rival.run.clone(), reach)).cloned().expect("every rival was compared right above")
        };
        // Versions consumed up to `base_seq` were left out when planning; later consumers are rivals.
        match may_open(state, run, header.base_seq, false, overlap) {
            Ok(()) => {}
            Err(OpenRefusal::Known { run }) => return Ok(Opened::Known(run)),
            Err(refusal @ (OpenRefusal::Rival { .. } | OpenRefusal::Consumed)) => {
                discard(flow, planned, &plan, &claims).await;
                return Ok(Opened::PlanAgain(refusal));
            }
        }
        let event = Event::Opened {
            run: run.clone(),
            trigger: planned.trigger.clone(),
            generation: planned.generation,
            plan: plan.clone(),
            claims: claims.clone(),
            outputs: planned.outputs.clone(),
            base_seq: header.base_seq,
            counts: header.counts,
        };
        match flow.ledger.try_append(state, event).await.map_err(&wrap)? {
            Appended::Ours(_) => return Ok(Opened::Opened(run.clone())),
            Appended::Lost => {}
        }
    }
}

/// Compares a plan with one rival: with all that it ever claimed, or with what it holds now.
async fn compare(
    flow: &Flow,
    rival: &RunState,
    reach: Reach,
    planned: &Planned,
    ours: &PlanClaims<'_>,
) -> Result<Overlap, EngineError> {
    let wrap = flow.ledger_error();
    let outputs = match reach {
        Reach::Held => outputs_overlap(&planned.outputs, &rival.outputs),
        // The state drops output keys as they are released; the rival's `Opened` names all of them.
        Reach::Everything => match flow.ledger.read_entry(rival.opened).await.map_err(&wrap)?.event {
            Event::Opened { outputs, .. } => outputs_overlap(&planned.outputs, &outputs),
            Event::Staged { .. }
            | Event::Sealed { .. }
            | Event::Committed { .. }
            | Event::Withdrawing { .. }
            | Event::Aborted { .. }
            | Event::Disposed { .. } => Overlap::Nothing,
        },
    };
    if let shared @ Overlap::Shares(_) = outputs {
        return Ok(shared);
    }
    let theirs = flow.ledger.read_claims(rival).await.map_err(&wrap)?;
    let counts = |claim: &Claim| match reach {
        Reach::Held => claim.groups.iter().any(|group| !rival.released.contains(group)),
        Reach::Everything => true,
    };
    let shared = theirs.claims.iter().find(|claim| counts(claim) && ours.contains(&claim.input));
    Ok(match shared {
        Some(claim) => Overlap::Shares(format!("input `{}`", claim.input.key)),
        None => Overlap::Nothing,
    })
}

/// Takes away the files of a plan that was refused, where nobody else can ever open it: the id of a requested run is
/// random and known here alone. A triggered run's files may be those that the log chose.
async fn discard(flow: &Flow, planned: &Planned, plan: &ContentHash, claims: &ContentHash) {
    match planned.trigger {
        Trigger::Request => {}
        Trigger::Manifest(_) => return,
    }
    if let Err(error) = flow.ledger.discard_plan(&planned.plan.header.run, plan, claims).await {
        tracing::debug!(%error, "the files of a refused plan stay behind");
    }
}
