//! A whole run over a server that fails: at each single request in turn, and at every n-th of a kind. The run survives it
//! by itself, with every byte in its place and every source gone.

use std::collections::BTreeMap;

use baler_engine::report::Status;
use baler_testkit::fixtures::random_bytes;
use baler_testkit::s3::{ErrorAnswer, Fault, Op, Scripted};

use crate::s3_world::S3World;

const FLOW: &str = r#"
[flows.blobs]
do = "combine"
from = "lake:raw/{group}/{n:int}.bin"
order_by = ["n"]
to = "lake:out/{group}.bin"
redshift_manifest = true
sources = { after_commit = "delete" }
"#;

/// Small objects, which pass through this machine, and one that the server copies.
const SIZES: [(&str, usize); 5] = [("a", 100), ("a", 2000), ("a", 30), ("b", 6 << 20), ("b", 500)];

struct Running {
    world: S3World,
    expected: BTreeMap<String, Vec<u8>>,
}

async fn filled() -> Running {
    let world = S3World::start().await;
    let mut expected = BTreeMap::<String, Vec<u8>>::new();
    for (n, (group, size)) in SIZES.into_iter().enumerate() {
        // Of one byte throughout, the large one is made quickly.
        let body = if size > 10_000 { vec![7; size] } else { random_bytes(n as u64, size).to_vec() };
        world.put(&format!("raw/{group}/{n}.bin"), body.clone());
        expected.entry(format!("out/{group}.bin")).or_default().extend(body);
    }
    world.server.clear_requests();
    Running { world, expected }
}

/// Runs once; what was asked for has happened, and nothing else can be seen of it.
async fn survives(script: Vec<Scripted>, what: &str) -> BTreeMap<Op, u64> {
    let Running { world, expected } = filled().await;
    world.server.script(script);
    let report = world.process(FLOW, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{what}: {report:#?}");
    assert_eq!(report.account.check_bytes(), Ok(()), "{what}");
    for (key, body) in &expected {
        assert!(world.server.object("lake", key).is_some_and(|is| is == *body), "{what}: `{key}` is wrong");
    }
    let outputs = ["out/a.bin", "out/a.bin.manifest", "out/b.bin", "out/b.bin.manifest"];
    assert_eq!(world.server.keys("lake", "out/"), outputs, "{what}");
    assert_eq!(world.server.keys("lake", "raw/"), [""; 0], "{what}: sources are left");
    assert_eq!(world.server.pending_faults(), 0, "{what}: it never struck");
    world.server.clear_faults();
    let again = world.process(FLOW, None).run_one().await;
    assert_eq!(again.status, Status::Nothing, "{what}: {again:#?}");
    let mut counts = BTreeMap::new();
    for request in world.server.requests() {
        *counts.entry(request.op).or_default() += 1;
    }
    counts
}

/// What can go wrong with a call of this kind.
fn faults_of(op: Op) -> Vec<Fault> {
    let mut faults = vec![
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::ErrorBefore(ErrorAnswer::SlowDown),
        Fault::ErrorBefore(ErrorAnswer::ExpiredToken),
        Fault::ErrorAfter(ErrorAnswer::Internal),
    ];
    // The answer to a HEAD has no body: there a wrong clock shows by the date alone, which here is right.
    if op != Op::HeadObject {
        faults.push(Fault::ErrorBefore(ErrorAnswer::ClockSkew));
    }
    match op {
        Op::CompleteMultipartUpload => faults.extend([
            Fault::ErrorBefore(ErrorAnswer::ConditionalConflict),
            Fault::ErrorInBody,
            Fault::ErrorInBodyAfter,
        ]),
        Op::UploadPartCopy => faults.extend([Fault::ErrorInBody, Fault::ErrorInBodyAfter]),
        Op::GetObject | Op::ListObjectsV2 | Op::ListParts => faults.push(Fault::TruncateBody(10)),
        Op::PutObject | Op::DeleteObject => faults.push(Fault::ErrorBefore(ErrorAnswer::ConditionalConflict)),
        _ => {}
    }
    faults
}

/// The calls of a run without faults; those of a second one, which finds nothing, are not among them.
async fn calls() -> BTreeMap<Op, u64> {
    let Running { world, .. } = filled().await;
    assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Committed);
    let mut counts = BTreeMap::new();
    for request in world.server.requests() {
        *counts.entry(request.op).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_single_request_is_survived() {
    let calls = calls().await;
    let kinds = [
        Op::ListObjectsV2,
        Op::GetObject,
        Op::HeadObject,
        Op::CreateMultipartUpload,
        Op::UploadPart,
        Op::UploadPartCopy,
        Op::ListParts,
        Op::CompleteMultipartUpload,
        Op::DeleteObject,
    ];
    for kind in kinds {
        assert!(calls.contains_key(&kind), "the run has no {kind}: {calls:?}");
    }
    let mut cases = 0;
    for (&op, &count) in &calls {
        for nth in 1..=count {
            for fault in faults_of(op) {
                survives(vec![Scripted::new(op, nth, fault)], &format!("{fault:?} at {op} {nth}")).await;
                cases += 1;
            }
        }
    }
    assert!(cases > 150, "{cases} cases are too few");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_every_nth_request_of_a_kind_is_survived() {
    let calls = calls().await;
    for (&op, &count) in &calls {
        for every in [2, 3].into_iter().filter(|every| *every <= count) {
            for fault in [Fault::ResetBefore, Fault::ResetAfter, Fault::ErrorBefore(ErrorAnswer::Internal)] {
                let script = (1..=count / every).map(|k| Scripted::new(op, k * every, fault)).collect();
                survives(script, &format!("{fault:?} at every {every}th {op}")).await;
            }
        }
    }
}
