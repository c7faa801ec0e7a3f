//! Azurite, the emulator of Azure Blob that Microsoft publishes, started for a test.
//!
//! `BALER_TEST_AZURITE` names its script `azurite/dist/src/blob/main.js`, which `node` runs. Unset, a test says that it
//! was skipped; in CI it fails. It listens on this machine only, and its telemetry is off.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics where its server does not start")]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The account that every Azurite has.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key, which is published.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running Azurite; it ends when this is dropped.
#[derive(Debug)]
pub struct Azurite {
    process: Child,
    /// `http://127.0.0.1:PORT/devstoreaccount1`.
    pub endpoint: String,
    /// Where it keeps its files.
    _dir: TempDir,
}

impl Azurite {
    /// Starts one; `None` where none is installed, which is said.
    ///
    /// # Panics
    /// When it does not start, or none is installed in CI.
    pub fn start() -> Option<Self> {
        let Ok(script) = std::env::var("BALER_TEST_AZURITE") else {
            let what = "`BALER_TEST_AZURITE` does not name Azurite's script `azurite/dist/src/blob/main.js`";
            assert!(std::env::var_os("CI").is_none(), "{what}");
            eprintln!("skipped: {what}");
            return None;
        };
        let dir = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("node")
            .arg(&script)
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobHost", "127.0.0.1"])
            .args(["--blobPort", &port.to_string(), "--location"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("`node {script}` does not start: {error}"));
        let azurite = Self { process, endpoint: format!("http://127.0.0.1:{port}/{ACCOUNT}"), _dir: dir };
        let began = Instant::now();
        while let Err(error) = TcpStream::connect(("127.0.0.1", port)) {
            assert!(began.elapsed() < Duration::from_secs(60), "Azurite does not answer: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(azurite)
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
