//! Files of the ledger as earlier builds wrote them: read into today's types, and written back byte for byte.
//!
//! A file of `tests/golden/` is never edited: it stands for what lies in users' stores.

use std::fmt::Debug;
use std::path::Path;

use baler_model::ledger::{
    Account, ChunkDone, ChunkExtent, ChunkTask, Claim, ClaimsHeader, CombineOptions, CommittedObject, ContentHash,
    ConvertOptions, ConvertTask, Counts, DisposalPlan, DriftPolicy, EachOptions, Entry, EpochUnit, Event,
    FailedAttempt, FailedRecord, Failure, Failures, FormatOptions, GatherTask, GroupId, Heartbeat, Manifest, Mark,
    OperationOptions, Outcome, OutputClaim, OutputRecords, PlanHeader, PlannedOutput, PlannedSchema, PlannedSplit,
    PlannedStore, PrivateObject, Provenance, QuarantineLimit, ResultOptions, ResultShape, ScatterOptions, ScatterTask,
    SealHeader, SealedOutput, SeparatorRule, TargetOptions, Task, Trigger, UpsertOptions, Work,
};
use baler_model::scrub::Scrub;
use baler_model::{
    AttemptId, FlowName, InputVersion, Key, KeyPart, LogSeq, ObjectVersion, PartitionSize, RunId, Staged, StagedPart,
    StagedPlace, TaskId, WriteId,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn golden(name: &str) -> String {
    let path = Path::new("tests/golden").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// How the ledger writes a file.
#[derive(Clone, Copy)]
enum Form {
    /// For people too: indented.
    Indented,
    /// On one line.
    Compact,
}

/// Holds a golden file against what it means, and what is written today against the file.
#[track_caller]
fn means<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, form: Form, meaning: &T) {
    let text = golden(name);
    let read: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(&read, meaning, "{name}");
    let written = match form {
        Form::Indented => serde_json::to_string_pretty(&read).unwrap(),
        Form::Compact => serde_json::to_string(&read).unwrap(),
    };
    assert_eq!(written, text, "{name} is written differently today");
}

/// The same for a file of lines: a header, then lines of one kind.
#[track_caller]
fn lines_mean<H, L>(name: &str, header: &H, lines: &[L])
where
    H: Serialize + DeserializeOwned + PartialEq + Debug,
    L: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let text = golden(name);
    let (first, rest) = text.split_once('\n').unwrap_or_else(|| panic!("{name} has no header"));
    let read_header: H = serde_json::from_str(first).unwrap_or_else(|e| panic!("{name}: {e}"));
    let read: Vec<L> =
        rest.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
    assert_eq!(&read_header, header, "{name}");
    assert_eq!(read, lines, "{name}");
    let mut written = serde_json::to_string(&read_header).unwrap() + "\n";
    for line in &read {
        written += &serde_json::to_string(line).unwrap();
        written.push('\n');
    }
    assert_eq!(written, text, "{name} is written differently today");
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn run() -> RunId {
    RunId::try_new("20260101T000000-0badcafe").unwrap()
}

fn sha(text: &str) -> ContentHash {
    ContentHash::of(text.as_bytes())
}

fn attempt() -> AttemptId {
    AttemptId::try_new("a1b2c3d4e5f6").unwrap()
}

fn key(text: &str) -> Key {
    Key::from_listed(text)
}

fn manifest() -> Manifest {
    Manifest {
        store: "s3://lake".into(),
        key: key("watch/queue/rollup-17.json"),
        etag: "9e107d9d372bb6826bd81d3542a419d6".into(),
        modified: at("2025-12-31T23:58:00.25Z"),
        version_id: Some("3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY".into()),
    }
}

fn entry(seq: u64, event: Event) -> Entry {
    Entry {
        version: 1,
        seq: LogSeq(seq),
        write_id: WriteId::try_new("w0000000000000001").unwrap(),
        at: at("2026-01-01T00:00:00.123456789Z"),
        by: "host-1/4711".into(),
        event,
    }
}

fn opened(run: RunId, trigger: Trigger, generation: u32, outputs: Vec<OutputClaim>) -> Event {
    Event::Opened {
        run,
        trigger,
        generation,
        plan: sha("plan"),
        claims: sha("claims"),
        outputs,
        base_seq: LogSeq(40),
        counts: Counts { inputs: 334, bytes: 9_007_199_254_740_993, groups: 2, tasks: 2 },
    }
}

/// Bytes balance and one separator was added; records were counted in one and not in the other.
fn account() -> Account {
    Account {
        objects_in: 3,
        objects_out: 1,
        bytes_in: 20,
        bytes_out: 17,
        bytes_inserted: 1,
        bytes_removed: 4,
        ..Account::default()
    }
}

fn counted() -> Account {
    Account { records_in: Some(10), records_out: Some(7), quarantined: Some(2), filtered: Some(1), ..account() }
}

fn staged_multipart() -> Staged {
    Staged {
        key: key("daily/é +%2F/2026-01-01.jsonl"),
        stamp: format!("daily/{}/0/{}", run(), attempt()).parse().unwrap(),
        size: 10_485_761,
        crc64nvme: Some(0x00ff_1122_3344_5566),
        place: StagedPlace::Multipart {
            upload_id: "VXBsb2FkIElE.with-odd_characters--".into(),
            parts: vec![
                StagedPart { number: 1, etag: "b54357faf0632cce46e942fa68356b38".into(), size: 5_242_880 },
                StagedPart { number: 2, etag: "0c78aef83f66abc1fa1e8477f296d394".into(), size: 5_242_881 },
            ],
        },
    }
}

fn staged_file() -> Staged {
    Staged {
        key: key("daily/2026-01-01.jsonl.manifest"),
        stamp: format!("daily/{}/1/{}", run(), attempt()).parse().unwrap(),
        size: 99,
        crc64nvme: None,
        place: StagedPlace::File {
            temp: ".baler-tmp/daily/a1b2c3d4e5f6".into(),
            inode: u64::MAX,
            modified_ns: 1_795_234_567_123_456_789,
        },
    }
}

fn mark(task: u32, generation: u32, outcome: Outcome) -> Mark {
    Mark {
        version: 1,
        run: run(),
        task: TaskId(task),
        generation,
        attempt: attempt(),
        at: at("2026-01-01T00:00:01Z"),
        outcome,
    }
}

#[test]
fn entries_of_version_1_are_read_and_written_as_ever() {
    let output = |n: u32| OutputClaim::Key(key(&format!("daily/{n}.jsonl")), GroupId(n));
    means(
        "entry/opened-request/v1.json",
        Form::Indented,
        &entry(41, opened(run(), Trigger::Request, 0, vec![output(0), output(1)])),
    );
    let by_manifest = RunId::try_new("m0123456789abcdef0123").unwrap();
    let outputs = vec![OutputClaim::Key(key("out/rollup.json"), GroupId(0)), OutputClaim::Prefix("out/rollup/".into())];
    means(
        "entry/opened-manifest/v1.json",
        Form::Indented,
        &entry(42, opened(by_manifest, Trigger::Manifest(manifest()), 3, outputs)),
    );
    means("entry/staged/v1.json", Form::Indented, &entry(43, Event::Staged { run: run(), n: 1, sha256: sha("stage") }));
    let sealed = Event::Sealed { run: run(), account: account(), seal: sha("seal"), released: vec![GroupId(1)] };
    means("entry/sealed/v1.json", Form::Indented, &entry(44, sealed));
    let objects = vec![
        CommittedObject { key: key("daily/0.jsonl"), etag: "5d41402abc4b2a76-2".into(), size: 17, group: GroupId(0) },
        // An operator said that a consumer took it away: no etag was seen.
        CommittedObject { key: key("daily/1.jsonl"), etag: "".into(), size: 0, group: GroupId(1) },
    ];
    means("entry/committed/v1.json", Form::Indented, &entry(45, Event::Committed { run: run(), objects }));
    means("entry/withdrawing/v1.json", Form::Indented, &entry(46, Event::Withdrawing { run: run() }));
    let aborted = Event::Aborted { run: run(), reason: "every group was given up: `raw/1.jsonl` changed".into() };
    means("entry/aborted/v1.json", Form::Indented, &entry(47, aborted));
    means(
        "entry/disposed/v1.json",
        Form::Indented,
        &entry(u64::MAX, Event::Disposed { run: run(), sources_gone: true }),
    );
}

#[test]
fn marks_of_version_1_are_read_and_written_as_ever() {
    let work = Work { bytes_copied: 10_485_760, bytes_through: 1, millis: 1234 };
    let multipart =
        Outcome::Staged { outputs: vec![staged_multipart()], account: Box::new(account()), work, records: Vec::new() };
    means("mark/staged-multipart/v1.json", Form::Compact, &mark(1234, 0, multipart));
    let file = Outcome::Staged {
        outputs: vec![staged_file()],
        account: Box::new(counted()),
        work: Work::default(),
        records: Vec::new(),
    };
    means("mark/staged-file/v1.json", Form::Compact, &mark(1, 2, file));
    let reason = Failure {
        error: "`raw/1.jsonl` in `lake` changed: version a was planned, b is there".into(),
        hint: Some("nothing was lost: the next `baler run` plans this group again".into()),
    };
    means("mark/given-up/v1.json", Form::Compact, &mark(0, 0, Outcome::GivenUp { reason }));
}

#[test]
fn plans_of_version_1_are_read_and_written_as_ever() {
    let store = |name: &str| PlannedStore { name: name.into(), url: format!("s3://{name}") };
    let header = PlanHeader {
        version: 1,
        flow: FlowName::try_new("daily").unwrap(),
        run: run(),
        as_of: at("2026-01-01T00:00:00Z"),
        base_seq: LogSeq(40),
        source: store("lake"),
        target: store("out"),
        operation: OperationOptions::Combine(CombineOptions {
            separator: SeparatorRule::Newline,
            header_first: true,
            decode_check: true,
            content_type: Some("text/csv".into()),
            redshift_manifest: true,
        }),
        sources: DisposalPlan::Archive {
            delay: SignedDuration::from_hours(36),
            store: store("attic"),
            prefix: "old/".into(),
        },
        manifest: Some(manifest()),
        counts: Counts { inputs: 2, bytes: 20, groups: 1, tasks: 1 },
    };
    let input = |name: &str, size| InputVersion {
        key: key(name),
        etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
        size,
        modified: at("2025-12-31T23:59:59.5Z"),
    };
    let task = Task {
        task: TaskId(0),
        stage: 0,
        group: GroupId(0),
        inputs: vec![input("raw/ä/../1 +%2F.csv", 8), input("raw/2.csv", 12)],
        key: key("daily/2026-01-01.csv"),
        replaces: Some(ObjectVersion::new("0123-2")),
        convert: None,
        scatter: None,
    };
    lines_mean("plan/all-options/v1.jsonl", &header, std::slice::from_ref(&task));
    let plain = PlanHeader {
        operation: OperationOptions::Combine(CombineOptions {
            separator: SeparatorRule::None,
            header_first: false,
            decode_check: false,
            content_type: None,
            redshift_manifest: false,
        }),
        sources: DisposalPlan::Keep,
        manifest: None,
        ..header.clone()
    };
    lines_mean("plan/no-options/v1.jsonl", &plain, &[Task { replaces: None, ..task.clone() }]);
    let deleting = PlanHeader { sources: DisposalPlan::Delete { delay: SignedDuration::ZERO }, ..plain };
    lines_mean::<_, Task>("plan/delete/v1.jsonl", &deleting, &[]);
}

#[test]
fn plans_of_records_of_version_1_are_read_and_written_as_ever() {
    let store = |name: &str| PlannedStore { name: name.into(), url: format!("s3://{name}") };
    let target = |path: &str, format, codec: &str| TargetOptions {
        path: path.into(),
        format,
        codec: codec.into(),
        level: None,
        partition: None,
        columns: Vec::new(),
        max_bytes: None,
    };
    let options = ConvertOptions {
        schemas: vec![PlannedSchema { columns: "id: int64, at: timestamp(ms, UTC)".into(), origin: "inferred".into() }],
        input: Some(FormatOptions::Csv { delimiter: b';', quote: b'\'', header: false }),
        records: vec!["response".into(), "records".into()],
        time: Some("at".into()),
        epoch: EpochUnit::S,
        drift: DriftPolicy::Widen,
        max_quarantined: QuarantineLimit::Percent(50),
        max_expansion: 1000,
        scrub: Scrub { drop: vec!["note".into()], ..Scrub::default() },
        sql: None,
        provenance: Provenance { key: Some("_key".into()), line: Some("_line".into()) },
        targets: vec![
            TargetOptions {
                level: Some(9),
                partition: Some(PartitionSize::Month),
                columns: vec!["country".into()],
                ..target("m/{partition:%Y-%m}.parquet", FormatOptions::Parquet, "zstd")
            },
            target("d/{day}.arrow.sz", FormatOptions::Arrow, "snappy"),
        ],
    };
    let header = PlanHeader {
        version: 1,
        flow: FlowName::try_new("feeds").unwrap(),
        run: run(),
        as_of: at("2026-01-01T00:00:00Z"),
        base_seq: LogSeq(7),
        source: store("lake"),
        target: store("out"),
        operation: OperationOptions::Convert(Box::new(options)),
        sources: DisposalPlan::Keep,
        manifest: None,
        counts: Counts { inputs: 1, bytes: 8, groups: 1, tasks: 1 },
    };
    let input = InputVersion {
        key: key("in/1.csv"),
        etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
        size: 8,
        modified: at("2025-12-31T23:59:59.5Z"),
    };
    let output = |to, name: &str, replaces: Option<&str>| PlannedOutput {
        to,
        key: key(name),
        replaces: replaces.map(ObjectVersion::new),
        inputs: vec![(0, 1), (3, 5)],
        span: replaces.map(|_| (1_764_547_200, 1_767_225_600)),
        split: (to == 1).then(|| PlannedSplit {
            columns: vec!["country".into()],
            parts: vec![KeyPart::Text("d/".into()), KeyPart::Column(0), KeyPart::Text(".arrow.sz".into())],
            previous: vec![(key("d/ch.arrow.sz"), ObjectVersion::new("9"))],
        }),
        numbered: None,
        text: None,
    };
    let convert = ConvertTask {
        schema: 0,
        outputs: vec![output(0, "m/2025-12.parquet", Some("0123-2")), output(1, "d/31.arrow.sz", None)],
        reread: vec![1, 2],
        quarantine: key("_quarantine/feeds/r/0.jsonl"),
    };
    let task = Task {
        task: TaskId(0),
        stage: 0,
        group: GroupId(0),
        inputs: vec![input],
        key: key("m/2025-12.parquet"),
        replaces: Some(ObjectVersion::new("0123-2")),
        convert: Some(Box::new(convert)),
        scatter: None,
    };
    lines_mean("plan/convert/v1.jsonl", &header, std::slice::from_ref(&task));
    let records = vec![OutputRecords { records: 5, records_in: 8, quarantined: 2, filtered: 1, queried: None }];
    let outcome =
        Outcome::Staged { outputs: vec![staged_file()], account: Box::new(counted()), work: Work::default(), records };
    means("mark/records/v1.json", Form::Compact, &mark(0, 0, outcome));
    // With SQL between: what it was given, and what came out of it.
    let account = Account { records_out: Some(4), sql_in: Some(7), sql_out: Some(4), ..counted() };
    let records = vec![OutputRecords { records: 4, records_in: 10, quarantined: 2, filtered: 1, queried: Some(7) }];
    assert!(records[0].balances() && account.check_records().is_ok());
    let outcome =
        Outcome::Staged { outputs: vec![staged_file()], account: Box::new(account), work: Work::default(), records };
    means("mark/queried/v1.json", Form::Compact, &mark(0, 0, outcome));
    let OperationOptions::Convert(options) = header.operation.clone() else { unreachable!("it is one right above") };
    let sql = Some("SELECT id FROM input".to_owned());
    let options = ConvertOptions { sql, scrub: Scrub::default(), records: Vec::new(), targets: Vec::new(), ..*options };
    let header = PlanHeader { operation: OperationOptions::Convert(Box::new(options)), ..header };
    lines_mean::<_, Task>("plan/queried/v1.jsonl", &header, &[]);
}

#[test]
fn plans_of_batches_of_version_1_are_read_and_written_as_ever() {
    let store = |name: &str| PlannedStore { name: name.into(), url: format!("s3://{name}") };
    let options = ScatterOptions {
        input: Some(FormatOptions::Jsonl),
        records: vec!["records".into()],
        chunk: 1000,
        max_expansion: 1000,
        schema: Some(PlannedSchema { columns: "itemNo: text".into(), origin: "declared".into() }),
        each: vec![
            EachOptions::JsonSchema { path: "/etl/price.schema.json".into(), text: "{}".into() },
            EachOptions::Program {
                command: vec!["python3".into(), "p.py".into()],
                directory: "/etl".into(),
                timeout: 30_000,
            },
            EachOptions::Http { url: "http://127.0.0.1/".into(), batch: 100, concurrency: 4, timeout: 5_000 },
        ],
        upsert: Some(UpsertOptions {
            into: "items".into(),
            database: "sqlite:/etl/items.db".into(),
            table: "items".into(),
            key: vec!["itemNo".into()],
            create: true,
        }),
        result: ResultOptions { shape: ResultShape::Document, codec: "zstd".into(), level: Some(9) },
    };
    let header = PlanHeader {
        version: 1,
        flow: FlowName::try_new("prices").unwrap(),
        run: run(),
        as_of: at("2026-01-01T00:00:00Z"),
        base_seq: LogSeq(7),
        source: store("lake"),
        target: store("out"),
        operation: OperationOptions::Scatter(Box::new(options)),
        sources: DisposalPlan::Keep,
        manifest: None,
        counts: Counts { inputs: 1, bytes: 8, groups: 1, tasks: 3 },
    };
    let task = |number: u32, stage, inputs, replaces: Option<&str>, scatter| Task {
        task: TaskId(number),
        stage,
        group: GroupId(0),
        inputs,
        key: key("outbox/b.json.zst"),
        replaces: replaces.map(ObjectVersion::new),
        convert: None,
        scatter: Some(scatter),
    };
    let chunk = |first, records, extent| ScatterTask::Chunk(ChunkTask { first, records, extent });
    let input = InputVersion {
        key: key("inbox/b.json"),
        etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
        size: 8,
        modified: at("2025-12-31T23:59:59.5Z"),
    };
    let gather = GatherTask {
        batch: "b".into(),
        batch_time: at("2025-12-31T23:59:59.5Z"),
        before: 12,
        records: 8,
        chunks: 2,
        damage: Some("gzip, member 1, compressed byte 99: cut off".into()),
        header: Some("itemNo,price\r\n".into()),
        summary: key("outbox/b.summary.json"),
        summary_replaces: Some(ObjectVersion::new("0123-3")),
        quarantine: key("_quarantine/prices/r/2.jsonl"),
        reread: true,
        split_millis: 17,
    };
    let bytes = |start, end, cut_off| ChunkExtent::Bytes { start, end, line: 2, cut_off };
    let tasks = [
        task(0, 0, Vec::new(), None, chunk(1, 4, bytes(12, 90, false))),
        task(1, 0, Vec::new(), None, chunk(5, 3, bytes(91, 120, true))),
        task(2, 1, vec![input], Some("0123-2"), ScatterTask::Gather(Box::new(gather))),
    ];
    lines_mean("plan/scatter/v1.jsonl", &header, &tasks);
    let groups = task(0, 0, Vec::new(), None, chunk(1, 4, ChunkExtent::Groups { start: 0, end: 2 }));
    let plain = ScatterOptions {
        input: None,
        records: Vec::new(),
        chunk: 1,
        max_expansion: 1,
        schema: None,
        each: Vec::new(),
        upsert: None,
        result: ResultOptions { shape: ResultShape::Lines, codec: "none".into(), level: None },
    };
    let header = PlanHeader { operation: OperationOptions::Scatter(Box::new(plain)), ..header };
    lines_mean("plan/scatter-plain/v1.jsonl", &header, &[groups]);
}

#[test]
fn marks_of_chunks_of_version_1_are_read_and_written_as_ever() {
    let record = |index, message: &str| FailedRecord { index, message: message.into() };
    let failures = Failures {
        records: 3,
        aside: PrivateObject { size: 7, crc64nvme: 1 },
        reasons: [("not JSON".to_owned(), 2), (String::new(), 1)].into(),
        first: record(3, "not JSON"),
        last: record(7, "x"),
    };
    let chunk = ChunkDone {
        began: at("2026-01-01T00:00:00.5Z"),
        succeeded: 6,
        left_out: 1,
        result: PrivateObject { size: 99, crc64nvme: u64::MAX },
        failures: Some(Box::new(failures)),
    };
    assert_eq!(chunk.account(), Account { records_in: Some(10), records_out: Some(6), ..of_records(3, 1) });
    means("mark/chunk/v1.json", Form::Compact, &mark(0, 0, Outcome::Taken(Box::new(chunk.clone()))));
    let plain = ChunkDone { left_out: 0, failures: None, ..chunk };
    assert_eq!(plain.account(), Account { records_in: Some(6), records_out: Some(6), ..of_records(0, 0) });
    means("mark/chunk-plain/v1.json", Form::Compact, &mark(0, 0, Outcome::Taken(Box::new(plain))));
}

fn of_records(quarantined: u64, filtered: u64) -> Account {
    Account { quarantined: Some(quarantined), filtered: Some(filtered), ..Account::default() }
}

#[test]
fn claims_of_version_1_are_read_and_written_as_ever() {
    let claim = |name: &str, groups: &[u32]| Claim {
        input: InputVersion {
            key: key(name),
            etag: "1f-a-18a".into(),
            size: u64::MAX,
            modified: at("2025-12-31T23:59:59.000000001Z"),
        },
        groups: groups.iter().copied().map(GroupId).collect(),
    };
    let header = ClaimsHeader { version: 1, run: run(), claims: 2 };
    lines_mean("claims/v1.jsonl", &header, &[claim("raw/1.jsonl", &[0]), claim("raw/2\n\"x\".jsonl", &[0, 1])]);
}

#[test]
fn seals_of_version_1_are_read_and_written_as_ever() {
    let header = SealHeader { version: 1, run: run(), account: account(), outputs: 2 };
    let line = |task: u32, output: u32, staged: Staged, replaces| SealedOutput {
        group: GroupId(task),
        task: TaskId(task),
        generation: 1,
        output,
        staged,
        replaces,
    };
    let lines =
        [line(0, 0, staged_multipart(), None), line(1, 1, staged_file(), Some(ObjectVersion::new("2a-63-18b")))];
    lines_mean("seal/v1.jsonl", &header, &lines);
}

#[test]
fn what_is_kept_for_people_is_read_and_written_as_ever() {
    let failed = FailedAttempt {
        version: 1,
        task: TaskId(7),
        attempt: attempt(),
        at: at("2026-01-01T00:00:02Z"),
        failure: Failure {
            error: "`lake` failed to read `raw/1.jsonl` after 10 tries: 503 SlowDown".into(),
            hint: None,
        },
    };
    means("failed/v1.json", Form::Indented, &failed);
    let heartbeat = Heartbeat {
        version: 1,
        host: "host-1".into(),
        pid: u32::MAX,
        process: "0f8fad5b-d9cb-469f-a165-70867728950e/123456".into(),
        since: at("2026-01-01T00:00:00Z"),
        at: at("2026-01-01T00:10:00Z"),
    };
    means("heartbeat/v1.json", Form::Compact, &heartbeat);
}

/// A later build of the same version may add a field that an earlier one can do without.
#[test]
fn fields_that_are_not_known_are_passed_over() {
    let with_more = |name: &str| golden(name).replacen('{', "{\"colour\": \"green\", ", 1);
    let known: Entry = serde_json::from_str(&golden("entry/sealed/v1.json")).unwrap();
    assert_eq!(serde_json::from_str::<Entry>(&with_more("entry/sealed/v1.json")).unwrap(), known);
    let known: Mark = serde_json::from_str(&golden("mark/staged-file/v1.json")).unwrap();
    assert_eq!(serde_json::from_str::<Mark>(&with_more("mark/staged-file/v1.json")).unwrap(), known);
    let first = |text: String| text.lines().next().unwrap().to_owned();
    let known: PlanHeader = serde_json::from_str(&first(golden("plan/all-options/v1.jsonl"))).unwrap();
    let read: PlanHeader = serde_json::from_str(&first(with_more("plan/all-options/v1.jsonl"))).unwrap();
    assert_eq!(read, known);
    // Inside, too.
    let deep = golden("mark/staged-file/v1.json").replacen("\"inode\":", "\"device\":7,\"inode\":", 1);
    let known: Mark = serde_json::from_str(&golden("mark/staged-file/v1.json")).unwrap();
    assert_eq!(serde_json::from_str::<Mark>(&deep).unwrap(), known);
}

/// What decides is never guessed: an event, an outcome or a rule of a later build is an error, not a default.
#[test]
fn words_that_are_not_known_are_refused() {
    let event = golden("entry/withdrawing/v1.json").replace("\"withdrawing\"", "\"reopened\"");
    let fault = serde_json::from_str::<Entry>(&event).unwrap_err().to_string();
    assert!(fault.contains("reopened"), "{fault}");
    let outcome = golden("mark/given-up/v1.json").replace("\"given_up\"", "\"postponed\"");
    let fault = serde_json::from_str::<Mark>(&outcome).unwrap_err().to_string();
    assert!(fault.contains("postponed"), "{fault}");
    let rule = golden("plan/delete/v1.jsonl").replace("\"delete\"", "\"move\"");
    let fault = serde_json::from_str::<PlanHeader>(rule.trim_end()).unwrap_err().to_string();
    assert!(fault.contains("move"), "{fault}");
    let missing = golden("claims/v1.jsonl").replace("\"version\":1,", "");
    let fault = serde_json::from_str::<ClaimsHeader>(missing.lines().next().unwrap()).unwrap_err().to_string();
    assert!(fault.contains("version"), "{fault}");
}
