//! The S3 store against the server of the testkit: as it should be, with small pages and a prefix, and failing.

use std::sync::Arc;

use baler_store::s3::{S3Options, S3Store, StaticCredentials};
use baler_store::{Store, SystemClock, SystemIds, prove};
use baler_testkit::conformance::{self, Deviation, Expect};
use baler_testkit::s3::{self as server, Checksums, Conditions, ErrorAnswer, Fault, Op, RandomFaults, S3Server};

pub(crate) async fn server(options: server::S3Options) -> S3Server {
    S3Server::start(options).await.unwrap()
}

pub(crate) fn store(server: &S3Server, prefix: &str) -> Arc<S3Store> {
    let options = S3Options {
        prefix: prefix.to_owned(),
        endpoint: Some(server.endpoint.clone()),
        ..S3Options::new("s3", "bucket", "us-east-1")
    };
    let credentials = Arc::new(StaticCredentials::new("test", "testtest"));
    Arc::new(S3Store::new(options, credentials, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract() {
    let server = server(server::S3Options::default()).await;
    conformance::run(store(&server, ""), Expect::object_store()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_with_small_pages_and_without_checksums() {
    let options = server::S3Options { page_size: 4, checksums: Checksums::Absent, ..server::S3Options::default() };
    let server = server(options).await;
    conformance::run(store(&server, ""), Expect::object_store()).await;
}

/// Keys of a store with a prefix are shorter than the server's limit by as much, so that the longest are left out.
#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_below_a_prefix() {
    let server = server(server::S3Options::default()).await;
    let claims = conformance::CHECKS.iter().map(|check| check.claim).filter(|claim| !claim.contains("1024_bytes"));
    conformance::run_claims(store(&server, "lake/é +%2F/"), Expect::object_store(), claims).await;
    let outside: Vec<_> =
        server.keys("bucket", "").into_iter().filter(|key| !key.starts_with("lake/é +%2F/")).collect();
    assert_eq!(outside, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_without_conditions_breaks_is_what_is_said_of_it() {
    let server = server(server::S3Options { conditions: Conditions::Ignored, ..server::S3Options::default() }).await;
    let expect = Expect::object_store().deviating([
        Deviation::CreatesTwice,
        Deviation::ReplacesAnyVersion,
        Deviation::DeletesAnyVersion,
    ]);
    conformance::run(store(&server, ""), expect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_break_conditions_are_caught() {
    let races = [
        "racing_puts_have_one_winner",
        "racing_publishers_of_rival_outputs_have_one_winner",
        "racing_replacements_have_one_winner",
    ];
    let plain = [
        "the_first_put_creates_and_the_second_finds_it",
        "an_output_is_not_published_over_a_foreign_object",
        "a_replacement_needs_the_recorded_version",
        "a_delete_takes_the_planned_version_only",
    ];
    for (conditions, claims) in [(Conditions::NotAtomic, &races[..]), (Conditions::Ignored, &plain[..])] {
        let server = server(server::S3Options { conditions, ..server::S3Options::default() }).await;
        let broken = conformance::broken_claims(store(&server, ""), Expect::object_store(), claims.to_vec()).await;
        assert_eq!(broken.iter().map(|(claim, _)| *claim).collect::<Vec<_>>(), claims, "{conditions:?}");
    }
}

/// One call in eight is answered by a reset or an error, before its effect: retries must hide that.
#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_while_calls_fail_before_their_effect() {
    let server = server(server::S3Options::default()).await;
    let faults =
        vec![Fault::ResetBefore, Fault::ErrorBefore(ErrorAnswer::SlowDown), Fault::ErrorBefore(ErrorAnswer::Internal)];
    server.random_faults(Some(RandomFaults { seed: 1, probability: 0.12, ops: Vec::new(), faults }));
    conformance::run(store(&server, ""), Expect { rounds: 3, ..Expect::object_store() }).await;
}

/// The same after the effect: a write happened and its author is told that it did not.
#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_while_replies_are_lost() {
    let server = server(server::S3Options::default()).await;
    let faults = vec![Fault::ResetAfter, Fault::ErrorAfter(ErrorAnswer::Internal), Fault::TruncateBody(2)];
    server.random_faults(Some(RandomFaults { seed: 2, probability: 0.12, ops: IDEMPOTENT.to_vec(), faults }));
    conformance::run(store(&server, ""), Expect { rounds: 3, ..Expect::object_store() }).await;
}

/// Operations whose lost reply no caller can tell from the loss of a race are left out: a delete that finds nothing
/// was perhaps its own, and an upload that was begun and not heard of is found again by `gc` only.
const IDEMPOTENT: &[Op] = &[
    Op::ListObjectsV2,
    Op::PutObject,
    Op::GetObject,
    Op::HeadObject,
    Op::UploadPart,
    Op::UploadPartCopy,
    Op::ListParts,
    Op::ListMultipartUploads,
    Op::AbortMultipartUpload,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_tells_servers_that_keep_conditions_from_those_that_do_not() {
    for conditions in [Conditions::Honoured, Conditions::Ignored, Conditions::NotAtomic] {
        let server = server(server::S3Options { conditions, ..server::S3Options::default() }).await;
        let store: Arc<dyn Store> = store(&server, "");
        let proven = prove(&store, "state/", 6, &SystemIds).await.unwrap();
        let kept = conditions == Conditions::Honoured;
        assert_eq!(proven.ledger_ok(), kept, "{conditions:?}: {proven:?}");
        assert_eq!(proven.publish_create_ok(), kept, "{conditions:?}: {proven:?}");
        assert_eq!(proven.publish_replace_ok(), kept, "{conditions:?}: {proven:?}");
        assert_eq!(proven.conditional_delete_ok(), kept, "{conditions:?}: {proven:?}");
        assert_eq!(server.keys("bucket", ""), [""; 0], "a proof leaves nothing behind");
        assert_eq!(server.uploads("bucket"), [], "a proof leaves nothing behind");
    }
}
