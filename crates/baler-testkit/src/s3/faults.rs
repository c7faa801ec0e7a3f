//! Faults that the server plays: before the effect of a call, after it, or in its answer.

use std::collections::HashMap;
use std::time::Duration;

use super::Op;
use crate::clock::SplitMix;

/// An error that the server can answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorAnswer {
    /// 500 `InternalError`.
    Internal,
    /// 503 `SlowDown`.
    SlowDown,
    /// 409 `ConditionalRequestConflict`: a conflicting call overlapped, nothing is decided.
    ConditionalConflict,
    /// 400 `ExpiredToken`.
    ExpiredToken,
    /// 403 `RequestTimeTooSkewed`.
    ClockSkew,
    /// 403 `AccessDenied`.
    AccessDenied,
    /// 400 `RequestTimeout`: the server waited too long for the body.
    RequestTimeout,
}

impl ErrorAnswer {
    /// Status, code and message.
    pub(super) fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Internal => (500, "InternalError", "We encountered an internal error. Please try again."),
            Self::SlowDown => (503, "SlowDown", "Please reduce your request rate."),
            Self::ConditionalConflict => {
                (409, "ConditionalRequestConflict", "The conditional request cannot succeed due to a conflict.")
            }
            Self::ExpiredToken => (400, "ExpiredToken", "The provided token has expired."),
            Self::ClockSkew => {
                (403, "RequestTimeTooSkewed", "The difference between the request time and now is too large.")
            }
            Self::AccessDenied => (403, "AccessDenied", "Access Denied"),
            Self::RequestTimeout => (400, "RequestTimeout", "Your socket connection to the server was not read from."),
        }
    }
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset and nothing happened.
    ResetBefore,
    /// The call takes effect, and the connection is reset instead of an answer.
    ResetAfter,
    /// An error is answered and nothing happened.
    ErrorBefore(ErrorAnswer),
    /// The call takes effect, and an error is answered.
    ErrorAfter(ErrorAnswer),
    /// Status 200 whose body is an `<Error>`, and nothing happened (completion, copies).
    ErrorInBody,
    /// Status 200 whose body is an `<Error>`, though the call took effect.
    ErrorInBodyAfter,
    /// The answer's body ends after that many bytes, and the connection with it.
    TruncateBody(u64),
    /// The call waits before it begins, then is served.
    Delay(Duration),
}

/// One scripted fault: the `nth` call (from 1) of an operation, counted from when the script was installed.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// The operation.
    pub op: Op,
    /// Which of its calls; calls that `key` excludes do not count.
    pub nth: u64,
    /// Only calls for this key.
    pub key: Option<String>,
    /// What goes wrong.
    pub fault: Fault,
}

impl Scripted {
    /// The `nth` call of `op`, whatever its key.
    pub fn new(op: Op, nth: u64, fault: Fault) -> Self {
        Self { op, nth, key: None, fault }
    }

    /// The `nth` call of `op` for one key.
    pub fn for_key(op: Op, key: impl Into<String>, nth: u64, fault: Fault) -> Self {
        Self { op, nth, key: Some(key.into()), fault }
    }
}

/// Faults drawn from a seeded generator.
#[derive(Debug, Clone)]
pub struct RandomFaults {
    /// The seed; equal seeds and equal orders of calls give equal faults.
    pub seed: u64,
    /// How probable a fault is, per call, from 0 to 1.
    pub probability: f64,
    /// The operations that fail; empty means all.
    pub ops: Vec<Op>,
    /// The faults, each as probable as the others.
    pub faults: Vec<Fault>,
}

/// What is to go wrong, and what has been counted towards it.
#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    script: Vec<(Scripted, u64)>,
    /// Calls that are still to fail, whatever their number.
    next: HashMap<Op, (u64, Fault)>,
    any: Option<(u64, Fault)>,
    random: Option<(RandomFaults, SplitMix)>,
}

impl FaultPlan {
    pub(super) fn add(&mut self, script: impl IntoIterator<Item = Scripted>) {
        self.script.extend(script.into_iter().map(|scripted| (scripted, 0)));
    }

    pub(super) fn fail_next(&mut self, op: Op, calls: u64, fault: Fault) {
        self.next.insert(op, (calls, fault));
    }

    pub(super) fn fail_next_any(&mut self, calls: u64, fault: Fault) {
        self.any = Some((calls, fault));
    }

    pub(super) fn set_random(&mut self, random: Option<RandomFaults>) {
        self.random = random.map(|random| {
            let generator = SplitMix::new(random.seed);
            (random, generator)
        });
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many scripted faults have not struck yet.
    pub(super) fn pending(&self) -> usize {
        self.script.iter().filter(|(scripted, seen)| *seen < scripted.nth).count()
    }

    /// What goes wrong with this call, which is counted.
    pub(super) fn strike(&mut self, op: Op, key: &str) -> Option<Fault> {
        let mut struck = None;
        for (scripted, seen) in &mut self.script {
            if scripted.op == op && scripted.key.as_deref().is_none_or(|wanted| wanted == key) {
                *seen += 1;
                if *seen == scripted.nth && struck.is_none() {
                    struck = Some(scripted.fault);
                }
            }
        }
        struck.or_else(|| self.next.get_mut(&op).and_then(spend)).or_else(|| self.any.as_mut().and_then(spend)).or_else(
            || {
                let (random, generator) = self.random.as_mut()?;
                let meant = random.ops.is_empty() || random.ops.contains(&op);
                if !meant || random.faults.is_empty() || generator.unit() >= random.probability {
                    return None;
                }
                let index = generator.below(random.faults.len() as u64);
                random.faults.get(index as usize).copied()
            },
        )
    }
}

fn spend((calls, fault): &mut (u64, Fault)) -> Option<Fault> {
    *calls = calls.checked_sub(1)?;
    Some(*fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_strikes_the_nth_call_of_its_key_only() {
        let mut plan = FaultPlan::default();
        plan.add([Scripted::for_key(Op::PutObject, "b", 2, Fault::ResetAfter)]);
        let struck = [("a", Op::PutObject), ("b", Op::PutObject), ("b", Op::GetObject), ("a", Op::PutObject)]
            .map(|(key, op)| plan.strike(op, key));
        assert_eq!(struck, [None; 4]);
        assert_eq!(plan.pending(), 1);
        assert_eq!(plan.strike(Op::PutObject, "b"), Some(Fault::ResetAfter));
        assert_eq!(plan.strike(Op::PutObject, "b"), None);
        assert_eq!(plan.pending(), 0);
    }

    #[test]
    fn equal_seeds_give_equal_faults() {
        let draw = |seed| {
            let mut plan = FaultPlan::default();
            let faults = vec![Fault::ResetBefore, Fault::ResetAfter];
            plan.set_random(Some(RandomFaults { seed, probability: 0.3, ops: vec![], faults }));
            (0..200).map(|_| plan.strike(Op::GetObject, "")).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let struck = draw(7).iter().flatten().count();
        assert!((30..90).contains(&struck), "{struck}");
    }
}
