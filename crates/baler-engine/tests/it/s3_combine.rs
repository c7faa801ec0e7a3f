//! `combine` over a server that speaks S3, with S3's own limits of parts.

use baler_engine::ledger::Marks;
use baler_engine::op::combine::stitch::{Limits, Piece, plan_passes};
use baler_engine::report::{RunReport, Status};
use baler_model::ledger::Outcome;
use baler_store::{Confirmation, PartLimits, Proof, Store};
use baler_testkit::fixtures::random_bytes;
use baler_testkit::s3::Op;

use crate::s3_world::S3World;
use crate::world::Process;

const MIB: usize = 1 << 20;

/// A mix around the least size of a part: small ones between large ones, at both ends, in a row.
const SIZES: [usize; 9] = [1024, 6 * MIB, 3_000_000, 5 * MIB - 1, 5 * MIB, 1024, 12 * MIB, 1024, 3_000_000];

const BLOBS: &str = r#"
[flows.blobs]
do = "combine"
from = "lake:raw/{n:int}.bin"
order_by = ["n"]
to = "lake:out/{count}.bin"
content_type = "application/x-blob"
"#;

/// What the stitch planner says is the least: bytes copied by the store, bytes that pass through this machine.
fn optimum(process: &Process, sizes: &[usize]) -> (u64, u64) {
    // An eighth of the least budget, as the engine cuts it.
    assert_eq!(process.env.limits.memory, 64 << 20);
    let limits = Limits::new(&PartLimits::S3, 8 << 20);
    let pieces: Vec<Piece> = sizes.iter().map(|&size| Piece::copyable(size as u64)).collect();
    let cost = plan_passes(&pieces, &limits).unwrap().estimate();
    (cost.bytes_server_side, cost.bytes_through_client)
}

fn fill(world: &S3World, suffix: &str, end: &[u8]) -> Vec<u8> {
    let mut expected = Vec::new();
    for (n, &size) in SIZES.iter().enumerate() {
        let mut body = random_bytes(n as u64 + 1, size).to_vec();
        let from = body.len() - end.len();
        body[from..].copy_from_slice(end);
        expected.extend_from_slice(&body);
        world.put(&format!("raw/{n}.{suffix}"), body);
    }
    expected
}

fn committed(report: &RunReport) {
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(report.account.check_bytes(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_joined_by_the_server_and_as_few_bytes_as_can_be_pass_through() {
    let world = S3World::start().await;
    let expected = fill(&world, "bin", b"");
    let process = world.process(BLOBS, None);
    let report = process.run_one().await;
    committed(&report);
    let out = world.server.object("lake", "out/9.bin").unwrap();
    assert!(out == expected, "{} bytes of {} are as they should be", out.len(), expected.len());
    let (copied, through) = optimum(&process, &SIZES);
    assert_eq!((report.bytes_copied_server_side, report.bytes_through_client), (copied, through));
    // The object of 5 MiB whole, and the one of 12 MiB but for what the small one before it borrows; that of 6 MiB
    // would leave a rest too small to be copied.
    assert_eq!(copied, 5 * MIB as u64 + 7 * MIB as u64 + 1024);
    let read: u64 = world.server.requests().iter().filter(|r| r.op == Op::GetObject).map(|r| r.bytes_out).sum();
    assert_eq!(read, through, "the server was asked for no byte more");
    assert!(world.server.uploads("lake").is_empty(), "no upload is left");
    assert_eq!(world.server.keys("lake", "_baler_tmp/"), [""; 0], "nothing private is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_say_what_they_are_and_carry_class_and_tags() {
    let world = S3World::start().await;
    fill(&world, "bin", b"");
    let report = world.process(BLOBS, None).run_one().await;
    committed(&report);
    let server = &world.server;
    assert_eq!(server.content_type("lake", "out/9.bin").as_deref(), Some("application/x-blob"));
    assert_eq!(server.storage_class("lake", "out/9.bin").as_deref(), Some("STANDARD_IA"));
    assert_eq!(server.tagging("lake", "out/9.bin").as_deref(), Some("team=lake%20%26%20more&made-by=baler"));
    let metadata = server.metadata("lake", "out/9.bin").unwrap();
    let stamp = &metadata.iter().find(|(name, _)| name == "baler").unwrap().1;
    assert!(stamp.starts_with(&format!("blobs/{}/0/", report.run.unwrap())), "{stamp}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_is_proven_by_the_checksums_of_its_sources_and_not_read_again() {
    let world = S3World::start().await;
    let expected = fill(&world, "bin", b"");
    let process = world.process(BLOBS, None);
    let report = process.run_one().await;
    committed(&report);
    let reads = world.server.requests().iter().filter(|r| r.op == Op::GetObject && r.key == "out/9.bin").count();
    assert_eq!(reads, 0, "the output was read");
    let flow = process.flow();
    let marks = flow.ledger.read_marks(&report.run.unwrap(), Marks::new()).await.unwrap();
    let Outcome::Staged { outputs, .. } = &marks.values().next().unwrap().outcome else { panic!("{marks:?}") };
    assert_eq!(outputs[0].crc64nvme, Some(baler_store::Crc64::of(&expected)));
    let confirmed = world.store("lake").confirm(&outputs[0]).await.unwrap();
    assert!(matches!(confirmed, Confirmation::Ours { proof: Proof::Crc64Nvme, .. }), "{confirmed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_checksums_is_proven_by_the_etags_of_parts() {
    let world = S3World::start().await;
    world.server.change(|options| options.checksums = baler_testkit::s3::Checksums::Absent);
    let expected = fill(&world, "bin", b"");
    let process = world.process(BLOBS, None);
    let report = process.run_one().await;
    committed(&report);
    assert!(world.server.object("lake", "out/9.bin").unwrap() == expected);
    let marks = process.flow().ledger.read_marks(&report.run.unwrap(), Marks::new()).await.unwrap();
    let Outcome::Staged { outputs, .. } = &marks.values().next().unwrap().outcome else { panic!("{marks:?}") };
    assert_eq!(outputs[0].crc64nvme, None);
    let confirmed = world.store("lake").confirm(&outputs[0]).await.unwrap();
    assert!(matches!(confirmed, Confirmation::Ours { proof: Proof::PartEtags, .. }), "{confirmed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn separators_cost_one_byte_read_for_each_end_that_is_copied() {
    let config = BLOBS.replace(".bin", ".jsonl");
    for (end, inserted) in [(b"}", SIZES.len() - 1), (b"\n", 0)] {
        let world = S3World::start().await;
        fill(&world, "jsonl", end);
        let process = world.process(&config, None);
        let report = process.run_one().await;
        committed(&report);
        let mut expected = Vec::new();
        for n in 0..SIZES.len() {
            expected.extend_from_slice(&world.server.object("lake", &format!("raw/{n}.jsonl")).unwrap());
            if inserted > 0 && n + 1 < SIZES.len() {
                expected.push(b'\n');
            }
        }
        let out = world.server.object("lake", "out/9.jsonl").unwrap();
        assert!(out == expected, "{} bytes, {} expected", out.len(), expected.len());
        assert_eq!(report.account.bytes_inserted, inserted as u64);
        let (_, through) = optimum(&process, &SIZES);
        if inserted == 0 {
            let more = report.bytes_through_client - through;
            assert!(more <= SIZES.len() as u64, "{more} bytes more than the least were read");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_of_one_bucket_are_copied_into_another_and_deleted_in_the_planned_version() {
    let config = BLOBS.replace("to = \"lake:", "to = \"other:") + "sources = { after_commit = \"delete\" }\n";
    let world = S3World::start().await;
    let expected = fill(&world, "bin", b"");
    let process = world.process(&config, None);
    let report = process.run_one().await;
    committed(&report);
    assert!(world.server.object("other", "out/9.bin").unwrap() == expected);
    assert_eq!(report.bytes_copied_server_side, optimum(&process, &SIZES).0, "a server copies between its buckets");
    assert_eq!(world.server.keys("lake", ""), [""; 0]);
    assert!(world.server.uploads("other").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_over_http_finds_nothing_to_do() {
    let world = S3World::start().await;
    fill(&world, "bin", b"");
    committed(&world.process(BLOBS, None).run_one().await);
    let before = world.server.keys("lake", "");
    assert_eq!(world.process(BLOBS, None).run_one().await.status, Status::Nothing);
    assert_eq!(world.server.keys("lake", ""), before);
}
