//! The server as a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::client::Caller;

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn the_process_prints_its_endpoint_and_serves_its_buckets() {
    let child = Command::new(env!("CARGO_BIN_EXE_baler-testkit-s3"))
        .args(["--open", "--bucket", "one", "--bucket", "two"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Stopped(child);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let caller = Caller::new(line.trim_end());
    assert_eq!(caller.get("/").await.all("Name"), ["one", "two"]);
    assert_eq!(caller.call("PUT", "/one/k", &[], "x").await.status, 200);
    assert_eq!(caller.get("/one/k").await.text(), "x");
}
