//! What the binary says of GCS without a server: that it is untested there, and what it asks for.

use std::process::Stdio;

use crate::bench::{Bench, ORDERS};

#[test]
fn check_says_that_gcs_is_untested() {
    let bench = Bench::new(&ORDERS.replace("./data", "gs://corp-data/lake"));
    // Nobody listens there.
    let mut command = bench.command(&["check"]);
    command.env("STORAGE_EMULATOR_HOST", "127.0.0.1:1");
    let done = bench.finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(done.code, 1, "{done:?}");
    let warning = "warning  `http://127.0.0.1:1/corp-data/lake/` is on Google Cloud Storage, where Baler is untested";
    assert_eq!(done.stdout.matches(warning).count(), 1, "{done:?}");
    assert!(done.stdout.contains("cannot connect to http://127.0.0.1:1"), "{done:?}");
}

#[test]
fn the_policy_says_what_gcs_asks_for() {
    let done = Bench::new(&ORDERS.replace("./data", "gs://corp-data/lake")).baler(&["check", "--iam"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("`gs://corp-data`") && done.stderr.contains("roles/storage.objectUser"), "{done:?}");
}
