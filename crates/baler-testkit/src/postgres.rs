//! PostgreSQL, started for a test.
//!
//! `BALER_TEST_POSTGRES` names the directory of its programs; unset, the newest of `/usr/lib/postgresql/*/bin` is taken. Where
//! there is none, a test says that it was skipped; in CI it fails. It listens on this machine only and keeps nothing: its files
//! lie in a temporary directory and are not synced. It refuses to run as root: then it runs as the user `postgres`, which its
//! packages create.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics where its server does not start")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Child,
    /// What to connect with: a database `postgres` whose user needs no password.
    pub url: String,
    /// Where it keeps its files.
    _dir: TempDir,
}

impl Postgres {
    /// Starts one; `None` where none is installed, which is said.
    ///
    /// # Panics
    /// When it does not start, or none is installed in CI.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            let what = "`BALER_TEST_POSTGRES` does not name the directory of `initdb` and `postgres`, and \
                        /usr/lib/postgresql has none";
            assert!(std::env::var_os("CI").is_none(), "{what}");
            eprintln!("skipped: {what}");
            return None;
        };
        let dir = TempDir::new().unwrap();
        let files = dir.path().join("files");
        let is_root = rustix::process::geteuid().is_root();
        let command = |program: &str| {
            let path = programs.join(program);
            if !is_root {
                return Command::new(path);
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
            command
        };
        if is_root {
            let owned = Command::new("chown").arg("postgres:postgres").arg(dir.path()).status().unwrap();
            assert!(owned.success(), "the user `postgres` is missing");
        }
        // A locale whose order is not that of bytes would be better, but not every machine has one.
        let made = command("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--pgdata"])
            .arg(&files)
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "`initdb` fails: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = command("postgres")
            .arg("-D")
            .arg(&files)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "fsync=off", "-c", "full_page_writes=off"])
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("`postgres` does not start: {error}"));
        let url = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
        let server = Self { process, url, _dir: dir };
        let began = Instant::now();
        loop {
            let ready = Command::new(programs.join("pg_isready"))
                .args(["--quiet", "--host=127.0.0.1", &format!("--port={port}")])
                .status()
                .unwrap();
            if ready.success() {
                return Some(server);
            }
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn programs() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("BALER_TEST_POSTGRES") {
        return Some(PathBuf::from(named)).filter(|dir| dir.join("initdb").is_file());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |dir: &PathBuf| dir.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let dirs = versions.filter_map(|entry| Some(entry.ok()?.path())).filter(|dir| dir.join("bin/initdb").is_file());
    dirs.max_by_key(version).map(|dir| dir.join("bin"))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children see that it is gone and end.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
