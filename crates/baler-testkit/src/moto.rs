//! moto, AWS's services as others wrote them, started for a test.
//!
//! `BALER_TEST_MOTO` names its executable `moto_server`, beside which stands its Python. Unset, a test says that it was
//! skipped; in CI it fails.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test panics where its server does not start")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// moto's own `main`, its requests answered one after the other. A transaction that moto cancels puts its copy of the whole
/// table back, and with it takes back what other requests wrote meanwhile, which DynamoDB never does.
const ONE_BY_ONE: &str = "
import threading
import moto.server as server
lock, run = threading.Lock(), server.run_simple

def run_one_by_one(host, port, app, **options):
    def answer(environ, start_response):
        with lock:
            return app(environ, start_response)
    run(host, port, answer, **options)

server.run_simple = run_one_by_one
server.main()
";

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Moto {
    process: Child,
    port: u16,
    /// Its URL. It takes any credentials.
    pub endpoint: String,
}

impl Moto {
    /// Starts one; `None` where no executable is named, which is said.
    ///
    /// # Panics
    /// When it does not start, or none is named in CI.
    pub fn start() -> Option<Self> {
        let Ok(program) = std::env::var("BALER_TEST_MOTO") else {
            assert!(std::env::var_os("CI").is_none(), "set `BALER_TEST_MOTO` to the executable `moto_server`");
            eprintln!("skipped: `BALER_TEST_MOTO` does not name the executable `moto_server`");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let python = Path::new(&program).with_file_name("python");
        let process = Command::new(&python)
            .args(["-c", ONE_BY_ONE, "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("`{}` does not start: {error}", python.display()));
        let moto = Self { process, port, endpoint: format!("http://127.0.0.1:{port}") };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "moto does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    /// Creates a bucket.
    ///
    /// # Panics
    /// When it is not created.
    pub fn create_bucket(&self, bucket: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, \
             Signature=0\r\n\r\n",
            self.port
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.lines().next().unwrap_or_default();
        assert!(status.contains(" 200 "), "no bucket: {status}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
