//! Who we are and who else runs on this machine, by `/proc`.
//!
//! A process is named by boot id, process namespace and start time: its id alone is used again, and two containers
//! count theirs apart.

use baler_engine::{Identity, Liveness, Processes};
use baler_model::ledger::Heartbeat;

/// The processes of this machine.
#[derive(Debug)]
pub(crate) struct ThisMachine {
    host: String,
    place: String,
}

impl ThisMachine {
    /// Looks at the machine.
    pub(crate) fn new() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let place = format!("{}/{}", boot.trim(), namespace.to_string_lossy());
        Self { host, place }
    }

    /// This very process.
    pub(crate) fn identity(&self) -> Identity {
        let pid = std::process::id();
        let process = format!("{}/{}", self.place, start_time(pid).unwrap_or_default());
        Identity { host: self.host.clone(), pid, process }
    }
}

impl Processes for ThisMachine {
    fn liveness(&self, heartbeat: &Heartbeat) -> Liveness {
        let Some((place, started)) = heartbeat.process.rsplit_once('/') else { return Liveness::Elsewhere };
        // Another boot, or another container: its process cannot be seen from here.
        if heartbeat.host != self.host || place != self.place {
            return Liveness::Elsewhere;
        }
        match start_time(heartbeat.pid) {
            Some(now) if now.to_string() == started => Liveness::Alive,
            Some(_) | None => Liveness::Dead,
        }
    }
}

/// When a process started, in clock ticks since boot; `None` when there is none, or it has ended.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold blanks and brackets itself. Source: proc(5), fields 3 (state) and 22 (starttime).
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use baler_model::ledger::FORMAT_VERSION;

    use super::*;

    fn beat(identity: &Identity) -> Heartbeat {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let Identity { host, pid, process } = identity.clone();
        Heartbeat { version: FORMAT_VERSION, host, pid, process, since: at, at }
    }

    #[test]
    fn this_process_is_alive_and_an_ended_one_is_dead() {
        let machine = ThisMachine::new();
        let us = machine.identity();
        assert_eq!(machine.liveness(&beat(&us)), Liveness::Alive);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = Identity { pid: child.id(), ..us.clone() };
        child.wait().unwrap();
        assert_eq!(machine.liveness(&beat(&ended)), Liveness::Dead);
    }

    #[test]
    fn a_process_id_used_again_is_not_the_author() {
        let machine = ThisMachine::new();
        let us = machine.identity();
        let place = us.process.rsplit_once('/').unwrap().0;
        let earlier = Identity { process: format!("{place}/1"), ..us.clone() };
        assert_eq!(machine.liveness(&beat(&earlier)), Liveness::Dead);
    }

    #[test]
    fn nothing_is_known_of_other_machines_and_boots() {
        let machine = ThisMachine::new();
        let us = machine.identity();
        for other in [
            Identity { host: "elsewhere".into(), ..us.clone() },
            Identity { process: "another-boot/pid:[1]/7".into(), ..us.clone() },
            Identity { process: String::new(), ..us.clone() },
        ] {
            assert_eq!(machine.liveness(&beat(&other)), Liveness::Elsewhere);
        }
    }
}
