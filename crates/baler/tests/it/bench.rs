//! A directory with a `baler.toml` and some data, and the binary run in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// One flow over `data/in/{day}/{n}.jsonl`, a group per day.
pub(crate) const ORDERS: &str = r#"version = 1

[stores]
lake = "./data"

[flows.orders]
do = "combine"
from = "lake:in/{day:%Y-%m-%d}/{n:int}.jsonl"
order_by = ["n"]
to = "lake:out/{day:%Y-%m-%d}.jsonl"
"#;

/// A temporary directory to run the binary in.
pub(crate) struct Bench {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    dir: String,
}

impl Bench {
    /// A directory with this `baler.toml`.
    pub(crate) fn new(config: &str) -> Self {
        let bench = Self { dir: TempDir::new().unwrap() };
        bench.write("baler.toml", config);
        bench
    }

    /// [`ORDERS`], with `more` lines in its flow.
    pub(crate) fn orders(more: &str) -> Self {
        Self::new(&format!("{ORDERS}{more}\n"))
    }

    /// An empty directory.
    pub(crate) fn empty() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// All files below a directory, sorted, relative to it.
    pub(crate) fn files(&self, under: &str) -> Vec<String> {
        fn walk(dir: &Path, base: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, base, found),
                    false => found.push(path.strip_prefix(base).unwrap().display().to_string()),
                }
            }
        }
        let base = self.path(under);
        let mut found = Vec::new();
        walk(&base, &base, &mut found);
        found.sort();
        found
    }

    /// The command, not started yet; nothing of the tester's AWS or Baler settings reaches it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baler"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.dir.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// Runs it to its end.
    pub(crate) fn baler(&self, args: &[&str]) -> Done {
        self.done(self.command(args).output().unwrap())
    }

    /// Runs it to its end, and watches the most memory that it ever held. Units: bytes.
    pub(crate) fn baler_watched(&self, args: &[&str]) -> (Done, u64) {
        let mut child = self.start(args);
        // Whoever says much would wait for a reader.
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stdout = std::thread::spawn(move || read_all(&mut out));
        let stderr = std::thread::spawn(move || read_all(&mut err));
        let status = format!("/proc/{}/status", child.id());
        let mut most = 0;
        // The kernel keeps the highest mark: what is missed is only what it grew by in the last two milliseconds.
        while child.try_wait().unwrap().is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = mark.and_then(|mark| mark.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            most = most.max(kib.unwrap_or(0) * 1024);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(most > 0, "a process that ran has held memory");
        let status = child.wait().unwrap();
        (self.done(Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }), most)
    }

    /// Starts it with both outputs caught.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// How a started one ended.
    pub(crate) fn finish(&self, child: Child) -> Done {
        self.done(child.wait_with_output().unwrap())
    }

    pub(crate) fn done(&self, output: Output) -> Done {
        Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            dir: self.dir.path().display().to_string(),
        }
    }

    /// `baler run --format json`, its lines parsed.
    pub(crate) fn run_json(&self, args: &[&str]) -> (i32, Vec<Value>) {
        let done = self.baler(&[&["run", "--format", "json"], args].concat());
        (done.code, done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// Two objects a day for two days.
    pub(crate) fn fill(&self) {
        self.write("data/in/2026-01-01/1.jsonl", "{\"id\":1}\n");
        self.write("data/in/2026-01-01/2.jsonl", "{\"id\":2}\n");
        self.write("data/in/2026-01-02/1.jsonl", "{\"id\":3}\n");
        self.write("data/in/2026-01-02/10.jsonl", "{\"id\":4}");
    }

    /// The id of the last run in the ledger.
    pub(crate) fn last_run(&self) -> String {
        let runs: Value = serde_json::from_str(&self.baler(&["runs", "--format", "json"]).stdout).unwrap();
        runs.as_array().unwrap().last().expect("there is a run")["run"].as_str().unwrap().to_owned()
    }

    /// Waits until a file below a directory has this text in its path.
    pub(crate) fn wait_for(&self, under: &str, part: &str) {
        let began = Instant::now();
        while !self.files(under).iter().any(|file| file.contains(part)) {
            assert!(began.elapsed() < Duration::from_secs(60), "no `{part}` under `{under}`: {:?}", self.files(under));
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Done {
    /// Exit code and both outputs, without what differs from run to run.
    pub(crate) fn shown(&self) -> String {
        let Self { code, stdout, stderr, dir } = self;
        format!("exit {code}\n--- stdout\n{stdout}--- stderr\n{stderr}").replace(dir, "DIR")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Compares with the snapshot of this name; ids, times and counts of requests are filtered.
macro_rules! assert_shown {
    ($name:expr, $done:expr) => {
        insta::with_settings!({
            prepend_module_to_snapshot => false,
            omit_expression => true,
            filters => [
                (r"\b\d{8}T\d{6}-[0-9a-f]{8}\b", "RUN"),
                (r"\bm[0-9a-f]{20}\b", "MANIFEST-RUN"),
                (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME"),
                (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
                (r" +\d+ +\d+\.\d s\n", "  REQUESTS  SECONDS\n"),
                (r"\d+\.\d s\b", "SECONDS"),
                (r"by [\w.-]+/\d+", "by HOST/PID"),
                (r"host `[^`]+` \(process \d+\)", "host `HOST` (process PID)"),
            ],
        }, { insta::assert_snapshot!($name, $done.shown()); });
    };
}
pub(crate) use assert_shown;

fn read_all(from: &mut dyn std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}
