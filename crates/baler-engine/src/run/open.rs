//! Opens a run: writes plan and claims, appends `Opened` (protocol section 3, step 5; INV-CLAIM-1, INV-RUN-1).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use baler_model::ledger::Event;
use baler_model::{InputVersion, LogSeq, RunId};

use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::decide::{OpenRefusal, Overlap, is_rival, may_open, outputs_overlap};
use crate::ledger::{Appended, LedgerState, RunState};
use crate::op::combine::plan::Planned;

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
/// What a crash leaves: plan and claims that no entry names; `gc` removes them.
/// Cost: three PUTs, and one GET per rival.
pub async fn open(flow: &Flow, state: &mut LedgerState, planned: &Planned) -> Result<Opened, EngineError> {
    let wrap = flow.ledger_error();
    let header = &planned.plan.header;
    let run = &header.run;
    let (plan, claims) = flow.ledger.write_plan(&planned.plan, &planned.claims).await.map_err(&wrap)?;
    let inputs: BTreeSet<&InputVersion> = planned.claims.claims.iter().map(|c| &c.input).collect();
    let mut rivals: BTreeMap<(RunId, LogSeq), Overlap> = BTreeMap::new();
    flow.ledger.refresh(state).await.map_err(&wrap)?;
    loop {
        // What rivals claim is read before the decision, which is made on the very state that is appended to.
        for rival in state.runs().iter().filter(|r| is_rival(r, header.base_seq)) {
            let id = (rival.run.clone(), rival.opened);
            if let Entry::Vacant(unknown) = rivals.entry(id) {
                unknown.insert(compare(flow, rival, &inputs, planned).await?);
            }
        }
        let overlap =
            |rival: &RunState| rivals.get(&(rival.run.clone(), rival.opened)).cloned().unwrap_or(Overlap::Nothing);
        // Versions consumed up to `base_seq` were left out when planning; later consumers are rivals.
        match may_open(state, run, header.base_seq, false, overlap) {
            Ok(()) => {}
            Err(OpenRefusal::Known { run }) => return Ok(Opened::Known(run)),
            Err(refusal @ (OpenRefusal::Rival { .. } | OpenRefusal::Consumed)) => {
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

/// Compares a plan with one rival: all that it ever claimed, released or not.
async fn compare(
    flow: &Flow,
    rival: &RunState,
    inputs: &BTreeSet<&InputVersion>,
    planned: &Planned,
) -> Result<Overlap, EngineError> {
    let wrap = flow.ledger_error();
    // The state drops output keys as they are released; the rival's `Opened` names all of them.
    let entry = flow.ledger.read_entry(rival.opened).await.map_err(&wrap)?;
    if let Event::Opened { outputs, .. } = &entry.event
        && let shared @ Overlap::Shares(_) = outputs_overlap(&planned.outputs, outputs)
    {
        return Ok(shared);
    }
    let theirs = flow.ledger.read_claims(rival).await.map_err(&wrap)?;
    let shared = theirs.claims.iter().find(|claim| inputs.contains(&claim.input));
    Ok(match shared {
        Some(claim) => Overlap::Shares(format!("input `{}`", claim.input.key)),
        None => Overlap::Nothing,
    })
}
