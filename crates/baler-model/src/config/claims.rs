//! Whether flows keep out of each other's way, and out of their own.
//!
//! - INV-CLAIM-1: flows that delete or archive may not overlap with another flow's `from`, nor two flows' `to` with
//!   each other.
//! - INV-LOOP-1: a flow's own `from` may not match its output, archive or the ledger.
//!
//! Decided here is what the patterns alone decide. Stores are compared by where their keys really lie, so that two names
//! for one bucket deceive nobody; links in a file system are not followed.

use std::collections::BTreeMap;

use super::place::{Location, Place, StoreConfig, StoreId, address};
use super::resolved::{AfterCommit, Config, FlowConfig, Operation, RedshiftManifest};
use crate::{Kind, Overlap, Pattern, Shape, Template};

/// Two places that must be apart and are not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Conflict {
    /// What is wrong.
    pub message: String,
    /// How to put it right.
    pub hint: String,
    /// The key of the file that is at fault.
    pub(super) at: Culprit,
}

impl Conflict {
    /// What to do about it: change the file.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }

    /// How to put it right.
    pub fn hint(&self) -> Option<&str> {
        Some(&self.hint)
    }
}

/// Which key of a flow a conflict is shown at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Culprit {
    From,
    To,
    ArchiveTo,
}

/// What the ledger keeps below `{state}/`.
const LEDGER: &str = "[0-9A-Za-z][0-9A-Za-z._-]*/(?:log/[0-9]{20}\\.json|snapshot/[0-9]{20}\\.jsonl\\.zst|runs/\
    [0-9A-Za-z][0-9A-Za-z._-]*/(?:[0-9a-z.-]+\\.json|[0-9a-z-]+\\.jsonl|claims-[0-9a-f]+\\.jsonl\\.zst|\
    mark/[0-9]+/[0-9]+\\.[0-9]+\\.json|full/[0-9]+/[0-9]+|pub/[0-9.]+|failed/[0-9]+-[0-9A-Za-z._-]+\\.json))";

/// Directories that belong to Baler in every store.
const OWN_DIRECTORIES: [&str; 3] = ["_baler_tmp", ".baler-tmp", ".baler-trash"];

/// The keys that a flow takes or writes, where they really lie.
struct Region {
    container: String,
    shape: Shape,
    what: String,
    at: Culprit,
    /// It is named after an output, from which it is told apart when planning.
    companion: bool,
}

impl Region {
    fn overlaps(&self, other: &Region) -> Overlap {
        match self.container == other.container {
            true => self.shape.overlaps(&other.shape),
            false => Overlap::No,
        }
    }

    fn within(&self, other: &Region) -> Overlap {
        match self.container == other.container {
            true => self.shape.within(&other.shape),
            false => Overlap::No,
        }
    }
}

/// A flow as far as others are concerned: its pattern and template may be bound to a manifest.
struct Reach<'c> {
    flow: &'c FlowConfig,
    from: Region,
    to: Region,
    /// What else it writes.
    beside: Vec<Region>,
}

/// What places are compared with: the stores and the ledger.
pub(super) struct Ground<'c> {
    pub(super) stores: &'c BTreeMap<StoreId, StoreConfig>,
    pub(super) state: &'c Place,
}

impl Config {
    /// Checks a flow whose pattern and template depend on a manifest, once both are bound (INV-CLAIM-1, INV-LOOP-1).
    ///
    /// Errors: [`Conflict`], the first that is found.
    pub fn check_bound(&self, flow: &FlowConfig, from: &Pattern, to: &Template) -> Result<(), Conflict> {
        let ground = Ground { stores: &self.stores, state: &self.state };
        let reach = ground.reach(flow, from, to);
        let others = self.flows.iter().filter(|other| other.name != flow.name);
        let conflict = ground
            .conflicts_within(&reach)
            .into_iter()
            .next()
            .or_else(|| others.flat_map(|other| conflicts_between(&reach, &ground.reach_of(other))).next());
        match conflict {
            Some(conflict) => Err(conflict),
            None => Ok(()),
        }
    }
}

/// The conflicts of a flow with itself and the ledger, and of each flow with those before it; each with the index of the
/// flow at which it is shown.
pub(super) fn find(ground: &Ground<'_>, flows: &[FlowConfig]) -> Vec<(usize, Conflict)> {
    let reaches: Vec<Reach<'_>> = flows.iter().map(|flow| ground.reach_of(flow)).collect();
    let mut found = Vec::new();
    for (index, reach) in reaches.iter().enumerate() {
        found.extend(ground.conflicts_within(reach).into_iter().map(|conflict| (index, conflict)));
        for earlier in &reaches[..index] {
            found.extend(conflicts_between(reach, earlier).into_iter().map(|conflict| (index, conflict)));
        }
    }
    found
}

impl Ground<'_> {
    fn reach_of<'f>(&self, flow: &'f FlowConfig) -> Reach<'f> {
        self.reach(flow, &flow.from.pattern, &flow.to.template)
    }

    fn reach<'f>(&self, flow: &'f FlowConfig, from: &Pattern, to: &Template) -> Reach<'f> {
        let from_what = format!("`from` (`{}`)", address(&flow.from.store, from.as_str()));
        let to_what = format!("`to` (`{}`)", address(&flow.to.store, to.as_str()));
        let mut beside = Vec::new();
        match &flow.operation {
            Operation::Combine(combine) if combine.redshift_manifest == RedshiftManifest::Beside => {
                let shape = to.shape().clone().then(&Shape::literal(".manifest"));
                beside.push(self.region(&flow.to.store, &shape, "the Redshift manifest".to_owned(), Culprit::To));
            }
            Operation::Combine(_) => {}
            Operation::Convert(convert) => {
                for target in &convert.targets[1..] {
                    let what = format!("`to` (`{}`)", address(&flow.to.store, target.template.as_str()));
                    beside.push(self.region(&flow.to.store, target.template.shape(), what, Culprit::To));
                }
                beside.push(self.quarantine(flow, &convert.quarantine));
            }
            Operation::Scatter(scatter) => {
                let what = format!("the summary (`{}`)", address(&flow.to.store, scatter.summary.as_str()));
                let summary = self.region(&flow.to.store, scatter.summary.shape(), what, Culprit::To);
                beside.push(Region { companion: true, ..summary });
                beside.push(self.quarantine(flow, &scatter.quarantine));
            }
        }
        if let AfterCommit::Archive { to: archive } = &flow.sources.after_commit {
            let shape =
                Shape::literal(&archive.prefix()).then(&Shape::regex("[0-9A-Za-z][0-9A-Za-z._-]*/")).then(from.shape());
            let what = format!("the archive (`{archive}`)");
            beside.push(self.region(&archive.store, &shape, what, Culprit::ArchiveTo));
        }
        Reach {
            flow,
            from: self.region(&flow.from.store, from.shape(), from_what, Culprit::From),
            to: self.region(&flow.to.store, to.shape(), to_what, Culprit::To),
            beside,
        }
    }

    fn quarantine(&self, flow: &FlowConfig, prefix: &str) -> Region {
        let shape = Shape::literal(&format!("{prefix}/{}/", flow.name)).then(&Shape::anything());
        let what = format!("`quarantine` (`{}`)", address(&flow.to.store, prefix));
        self.region(&flow.to.store, &shape, what, Culprit::To)
    }

    fn location(&self, store: &StoreId) -> Location {
        self.stores[store].location()
    }

    fn region(&self, store: &StoreId, keys: &Shape, what: String, at: Culprit) -> Region {
        let Location { container, prefix } = self.location(store);
        Region { container, shape: Shape::literal(&prefix).then(keys), what, at, companion: false }
    }

    /// INV-LOOP-1.
    fn conflicts_within(&self, reach: &Reach<'_>) -> Vec<Conflict> {
        let mut found = Vec::new();
        let looping = |written: &Region| Conflict {
            message: format!("the flow would consume its own output: {} matches {}", reach.from.what, written.what),
            hint: "write to another prefix, or give `from` a piece that outputs lack".to_owned(),
            at: written.at,
        };
        let written = || std::iter::once(&reach.to).chain(&reach.beside);
        found.extend(written().filter(|written| written.within(&reach.from) == Overlap::Yes).map(looping));
        let ledger_keys = Shape::literal(&self.state.prefix()).then(&Shape::regex(LEDGER));
        let ledger = self.region(&self.state.store, &ledger_keys, "the ledger".to_owned(), Culprit::From);
        if ledger.overlaps(&reach.from) == Overlap::Yes {
            found.push(Conflict {
                message: format!("{} matches objects of the ledger (`{}`)", reach.from.what, self.state),
                hint:
                    "keep `state` apart from the data, for example at `_baler`: patterns skip pieces with a leading `_`"
                        .to_owned(),
                at: Culprit::From,
            });
        }
        let anything = Shape::literal(&self.state.prefix()).then(&Shape::anything());
        let state = self.region(&self.state.store, &anything, "the ledger".to_owned(), Culprit::To);
        // A ledger at the root of a store has no prefix of its own: there the shapes of its objects alone count.
        let state = if self.state.path.is_empty() { &ledger } else { &state };
        for written in written().filter(|written| written.within(state) == Overlap::Yes) {
            found.push(Conflict {
                message: format!("{} lies in the ledger (`{}`)", written.what, self.state),
                hint: "write to another prefix: the ledger is Baler's own".to_owned(),
                at: written.at,
            });
        }
        let template = &reach.flow.to.template;
        for (text, at) in [(reach.flow.from.pattern.as_str(), Culprit::From), (template.as_str(), Culprit::To)] {
            if let Some(own) = text.split('/').find(|piece| OWN_DIRECTORIES.contains(piece)) {
                found.push(Conflict {
                    message: format!("`{own}` is where Baler keeps temporary objects"),
                    hint: "choose another name".to_owned(),
                    at,
                });
            }
        }
        let several = match reach.flow.operation {
            Operation::Convert(_) | Operation::Scatter(_) => true,
            Operation::Combine(_) => false,
        };
        let written: Vec<&Region> =
            written().filter(|region| several && region.at == Culprit::To && !region.companion).collect();
        for (number, one) in written.iter().enumerate() {
            for other in &written[..number] {
                if one.container == other.container && one.shape.overlaps(&other.shape) == Overlap::Yes {
                    found.push(Conflict {
                        message: format!("{} overlaps with {}", one.what, other.what),
                        hint: "each kind of outputs needs keys of its own: give each a prefix".to_owned(),
                        at: Culprit::To,
                    });
                }
            }
        }
        found
    }
}

/// INV-CLAIM-1; shown at the first flow.
fn conflicts_between(one: &Reach<'_>, other: &Reach<'_>) -> Vec<Conflict> {
    let mut found = Vec::new();
    let takes_away = |reach: &Reach<'_>| match reach.flow.sources.after_commit {
        AfterCommit::Keep => false,
        AfterCommit::Delete | AfterCommit::Archive { .. } => true,
    };
    let name = &other.flow.name;
    if (takes_away(one) || takes_away(other)) && one.from.overlaps(&other.from) == Overlap::Yes {
        let remover = if takes_away(one) { &one.flow.name } else { name };
        found.push(Conflict {
            message: format!(
                "{} overlaps with that of flow `{name}`, and `{remover}` removes its sources",
                one.from.what
            ),
            hint:
                "an object would be gone before the other flow has seen it: set `after_commit = \"keep\"`, or make the \
                   patterns disjoint"
                    .to_owned(),
            at: Culprit::From,
        });
    }
    for written in std::iter::once(&one.to).chain(&one.beside) {
        for others in std::iter::once(&other.to).chain(&other.beside) {
            if written.overlaps(others) == Overlap::Yes {
                found.push(Conflict {
                    message: format!("{} overlaps with {} of flow `{name}`", written.what, others.what),
                    hint: "two flows may not write the same keys: give each a prefix of its own".to_owned(),
                    at: written.at,
                });
            }
        }
    }
    found
}
