//! The S3 store against moto, a server that others wrote.
//!
//! `BALER_TEST_MOTO` names its executable `moto_server`. Unset, the test says that it was skipped; in CI it fails.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baler_store::s3::{S3Options, S3Store, StaticCredentials};
use baler_store::{SystemClock, SystemIds};
use baler_testkit::conformance::{self, Deviation, Expect};

struct Moto {
    process: Child,
    endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Starts moto and creates a bucket; nothing when no executable is named.
fn start(bucket: &str) -> Option<Moto> {
    let Ok(program) = std::env::var("BALER_TEST_MOTO") else {
        assert!(std::env::var_os("CI").is_none(), "set `BALER_TEST_MOTO` to the executable `moto_server`");
        eprintln!("skipped: `BALER_TEST_MOTO` does not name the executable `moto_server`");
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = Command::new(&program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("`{program}` does not start: {error}"));
    let moto = Moto { process, endpoint: format!("http://127.0.0.1:{port}") };
    let began = Instant::now();
    loop {
        match create_bucket(port, bucket) {
            Ok(status) => {
                assert!(status.contains(" 200 "), "no bucket: {status}");
                return Some(moto);
            }
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "moto does not answer: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn create_bucket(port: u16, bucket: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(
        stream,
        "PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, \
         Signature=0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_on_moto() {
    let Some(moto) = start("conformance") else { return };
    let options = S3Options {
        endpoint: Some(moto.endpoint.clone()),
        // moto answers 500 to the completion of an upload that is gone; more tries only take longer.
        max_tries: 3,
        ..S3Options::new("moto", "conformance", "us-east-1")
    };
    let credentials = Arc::new(StaticCredentials::new("test", "testtest"));
    let store = S3Store::new(options, credentials, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
    // Some 300 small requests a second: fewer rounds, no claim less.
    let expect = Expect { rounds: 2, ..Expect::object_store() }
        .deviating([Deviation::ReplacesAnyVersion, Deviation::RefusesLineBreaks]);
    conformance::run(Arc::new(store), expect).await;
}
