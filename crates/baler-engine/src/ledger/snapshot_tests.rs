use baler_model::RunId;
use baler_model::ledger::{ContentHash, GroupId, OutputClaim, Trigger};

use super::super::fold::RunStatus;
use super::*;

/// A file of `tests/golden/` is never edited: it stands for what lies in users' stores.
const GOLDEN: &str = include_str!("../../tests/golden/snapshot/v1.jsonl");

fn compressed(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).unwrap()
}

fn refusal(text: &str, seq: u64) -> String {
    parse(&compressed(text), LogSeq(seq)).err().unwrap_or_else(|| panic!("a snapshot was taken that is not whole"))
}

#[test]
fn snapshots_of_version_1_are_read_and_written_as_ever() {
    let read = parse(&compressed(GOLDEN), LogSeq(70)).unwrap();
    assert_eq!((read.seq, read.state.head()), (LogSeq(70), LogSeq(70)));
    let statuses: Vec<RunStatus> = read.state.runs().iter().map(|run| run.status).collect();
    assert_eq!(
        statuses,
        [RunStatus::Disposed, RunStatus::Aborted, RunStatus::Sealed, RunStatus::Opened, RunStatus::Committed]
    );
    let [disposed, aborted, sealed, opened, committed] = read.state.runs() else { panic!("five runs") };
    assert_eq!((disposed.sources_gone, disposed.consumes(), disposed.committed), (true, false, Some(LogSeq(3))));
    assert_eq!(disposed.account.as_ref().unwrap().bytes_inserted, 1);
    assert_eq!(aborted.abort_reason.as_deref(), Some("every group was given up"));
    assert!(aborted.ended_early());
    assert_eq!(sealed.released.iter().copied().collect::<Vec<_>>(), [GroupId(1)]);
    assert_eq!(sealed.outputs, [OutputClaim::Key(Key::from_listed("daily/2.jsonl"), GroupId(0))]);
    assert_eq!(sealed.seal, Some(ContentHash::of(b"seal")));
    let Trigger::Manifest(manifest) = &opened.trigger else { panic!("{opened:?}") };
    assert_eq!((manifest.key.as_str(), opened.generation), ("watch/queue/17.json", 2));
    assert_eq!(opened.staged[&1], ContentHash::of(b"stage"));
    assert_eq!((committed.consumes(), committed.last, committed.opened_by.as_str()), (true, LogSeq(70), "host-1/4711"));
    let own = read.state.object(&Key::from_listed("daily/é +%2F.jsonl")).unwrap();
    assert_eq!((&*own.etag, &own.run), ("0123456789abcdef-2", &RunId::try_new("r5").unwrap()));
    let consumed: Vec<&str> = read.consumed.iter().map(|input| input.key.as_str()).collect();
    assert_eq!(consumed, ["raw/1.jsonl", "raw/2.jsonl"]);
    let written = render(&read.state, &read.consumed).unwrap();
    assert_eq!(String::from_utf8(zstd::decode_all(&*written).unwrap()).unwrap(), GOLDEN);
}

#[test]
fn a_snapshot_that_is_not_whole_is_passed_over() {
    let without =
        |line: &str| GOLDEN.lines().filter(|l| !l.contains(line)).map(|l| format!("{l}\n")).collect::<String>();
    assert_eq!(refusal(&without("raw/1.jsonl"), 70), "it is torn");
    assert_eq!(refusal(&without("{\"end\""), 70), "it is torn");
    assert_eq!(refusal(&without("{\"header\""), 70), "it has no header");
    // One that lies under another's name.
    assert_eq!(refusal(GOLDEN, 71), "it is torn");
    let whole = compressed(GOLDEN);
    assert!(parse(&whole[..whole.len() - 5], LogSeq(70)).is_err());
}

#[test]
fn a_snapshot_of_a_later_version_is_passed_over_for_the_log() {
    let later = GOLDEN.replacen("\"version\":1", "\"version\":2", 1);
    assert_eq!(refusal(&later, 70), "it has format version 2");
    let unknown = later.replacen("{\"object\"", "{\"partition\":{}}\n{\"object\"", 1);
    assert!(refusal(&unknown, 70).contains("partition"));
}
