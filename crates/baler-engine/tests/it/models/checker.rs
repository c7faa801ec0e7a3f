//! A small explicit-state model checker: explores every state of a [`Model`], breadth first, so that the first
//! counterexample is a shortest one.
//!
//! Two questions are asked: does every state keep the invariants, and can a good end be reached from every state (no
//! wedge)? States are told apart by a 64-bit fingerprint: among a million states the odds that two share one are below
//! one in ten million.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::{self, Debug};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::time::Instant;

/// More states than this are a mistake in the model, not a model.
const LIMIT: usize = 3_000_000;

/// What a checked model is violated by when no good end can be reached any more.
pub(crate) const WEDGE: &str = "wedge: no good end can be reached";

/// Actors, their world, and what must never happen in it.
pub(crate) trait Model {
    /// The world and all actors' local views.
    type State: Clone + Eq + Hash + Debug;

    /// States to begin from.
    fn starts(&self) -> Vec<Self::State>;

    /// Calls `step` with every state that can come next, and with what was done, for people.
    ///
    /// Whatever may fail to happen is simply one choice among others: an actor that is never chosen has crashed or
    /// sleeps.
    fn next(&self, state: &Self::State, step: &mut dyn FnMut(String, Self::State));

    /// The invariant that this state breaks, if any.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;

    /// Whether this is a good end: everything that had to happen has.
    fn is_done(&self, state: &Self::State) -> bool;
}

/// How an exploration ended.
pub(crate) struct Explored<S> {
    /// States seen.
    pub(crate) states: usize,
    /// What was found, if anything was.
    pub(crate) found: Option<Counterexample<S>>,
}

/// A shortest way into a state that should not be.
pub(crate) struct Counterexample<S> {
    /// The invariant.
    pub(crate) what: &'static str,
    /// What was done, step by step.
    pub(crate) steps: Vec<String>,
    /// Where it led.
    pub(crate) last: S,
}

impl<S: Debug> fmt::Display for Counterexample<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:4}. {step}", number + 1)?;
        }
        write!(f, "{:#?}", self.last)
    }
}

/// Explores a model whole, or until an invariant breaks.
pub(crate) fn explore<M: Model>(model: &M) -> Explored<M::State> {
    let mut states: Vec<M::State> = Vec::new();
    let mut parents: Vec<u32> = Vec::new();
    let mut known: HashMap<u64, u32, BuildHasherDefault<Fingerprint>> = HashMap::default();
    let mut edges: Vec<(u32, u32)> = Vec::new();
    for start in model.starts() {
        if let Entry::Vacant(unknown) = known.entry(fingerprint(&start)) {
            unknown.insert(index(states.len()));
            parents.push(u32::MAX);
            states.push(start);
        }
    }
    let mut at = 0;
    while at < states.len() {
        if let Some(what) = model.violation(&states[at]) {
            return found(model, &states, &parents, at, what);
        }
        let state = states[at].clone();
        let from = index(at);
        model.next(&state, &mut |_, next| {
            let to = match known.entry(fingerprint(&next)) {
                Entry::Occupied(there) => *there.get(),
                Entry::Vacant(unknown) => {
                    let to = *unknown.insert(index(states.len()));
                    parents.push(from);
                    states.push(next);
                    to
                }
            };
            if to != from {
                edges.push((to, from));
            }
        });
        assert!(states.len() <= LIMIT, "the model has more than {LIMIT} states: make its bounds smaller");
        at += 1;
    }
    match wedged(model, &states, edges) {
        Some(at) => found(model, &states, &parents, at, WEDGE),
        None => Explored { states: states.len(), found: None },
    }
}

/// The first state from which no good end can be reached: a walk back from all good ends does not meet it.
fn wedged<M: Model>(model: &M, states: &[M::State], mut back: Vec<(u32, u32)>) -> Option<usize> {
    back.sort_unstable();
    let mut reached: Vec<bool> = states.iter().map(|state| model.is_done(state)).collect();
    let mut open: Vec<u32> = (0..index(states.len())).filter(|&i| reached[i as usize]).collect();
    while let Some(to) = open.pop() {
        let begin = back.partition_point(|&(t, _)| t < to);
        for &(_, from) in back[begin..].iter().take_while(|&&(t, _)| t == to) {
            if !std::mem::replace(&mut reached[from as usize], true) {
                open.push(from);
            }
        }
    }
    reached.iter().position(|&is_reached| !is_reached)
}

/// Retraces the way to a state.
fn found<M: Model>(
    model: &M,
    states: &[M::State],
    parents: &[u32],
    at: usize,
    what: &'static str,
) -> Explored<M::State> {
    let mut steps = Vec::new();
    let mut to = at;
    while let Some(parent) = states.get(parents[to] as usize) {
        let mut label = None;
        model.next(parent, &mut |step, next| {
            if next == states[to] {
                label.get_or_insert(step);
            }
        });
        steps.push(label.expect("a state was reached from its parent"));
        to = parents[to] as usize;
    }
    steps.reverse();
    Explored { states: states.len(), found: Some(Counterexample { what, steps, last: states[at].clone() }) }
}

/// Explores a model that must hold, and checks that there was enough to explore.
#[expect(clippy::print_stdout, reason = "the number of states is what the model is worth")]
pub(crate) fn holds<M: Model>(name: &str, model: &M, at_least: usize) {
    let began = Instant::now();
    let explored = explore(model);
    println!("{name}: {} states in {:.1} s", explored.states, began.elapsed().as_secs_f64());
    if let Some(found) = explored.found {
        panic!("{name}: {found}");
    }
    assert!(explored.states >= at_least, "{name}: only {} states, expected {at_least}", explored.states);
}

/// Explores a model of which a rule was taken away, and checks that this is noticed as one of `expected`.
#[expect(clippy::print_stdout, reason = "the counterexample says what the rule is for")]
pub(crate) fn breaks<M: Model>(name: &str, model: &M, expected: &[&str]) {
    let began = Instant::now();
    let explored = explore(model);
    let (states, seconds) = (explored.states, began.elapsed().as_secs_f64());
    let Some(found) = explored.found else {
        panic!("{name}: {states} states in {seconds:.1} s, and nothing wrong was found: the rule proves nothing");
    };
    println!("{name}: found after {states} states in {seconds:.1} s: {found}");
    assert!(expected.contains(&found.what), "{name}: found `{}`, expected one of {expected:?}", found.what);
}

fn index(n: usize) -> u32 {
    u32::try_from(n).expect("a model has fewer states than that")
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = Fingerprint::default();
    state.hash(&mut hasher);
    // A final mix (that of MurmurHash3): the last words written must reach all bits.
    let mut h = hasher.finish();
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// A multiplicative hash: tests are built without optimisation, and a state is hashed for every step.
#[derive(Default)]
struct Fingerprint(u64);

impl Fingerprint {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn write_isize(&mut self, n: isize) {
        self.mix(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Two actors take two locks in opposite order.
struct Locks {
    is_ordered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Holders {
    locks: [Option<u8>; 2],
    taken: [u8; 2],
}

impl Model for Locks {
    type State = Holders;

    fn starts(&self) -> Vec<Holders> {
        vec![Holders { locks: [None; 2], taken: [0; 2] }]
    }

    fn next(&self, state: &Holders, step: &mut dyn FnMut(String, Holders)) {
        for actor in 0..2u8 {
            let me = usize::from(actor);
            let mut next = state.clone();
            if state.taken[me] == 2 {
                next.locks.iter_mut().filter(|l| **l == Some(actor)).for_each(|l| *l = None);
                next.taken[me] = 3;
                step(format!("{actor} leaves"), next);
            } else if state.taken[me] < 2 {
                let is_reversed = actor == 1 && !self.is_ordered;
                let lock = usize::from(state.taken[me] ^ u8::from(is_reversed));
                if state.locks[lock].is_none() {
                    next.locks[lock] = Some(actor);
                    next.taken[me] += 1;
                    step(format!("{actor} takes {lock}"), next);
                }
            }
        }
    }

    fn violation(&self, state: &Holders) -> Option<&'static str> {
        (state.taken == [2, 2]).then_some("both hold both")
    }

    fn is_done(&self, state: &Holders) -> bool {
        state.taken == [3, 3]
    }
}

#[test]
fn the_checker_finds_a_deadlock_and_the_shortest_way_into_it() {
    assert!(explore(&Locks { is_ordered: true }).found.is_none());
    let found = explore(&Locks { is_ordered: false }).found.unwrap();
    assert_eq!(found.what, WEDGE);
    assert_eq!(found.steps, ["0 takes 0", "1 takes 1"]);
}
