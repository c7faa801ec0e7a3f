//! `combine` against a naive model: group, order, cut, concatenate.

use std::collections::BTreeMap;

use baler_engine::report::{RunReport, Status};
use baler_testkit::fixtures;
use proptest::prelude::*;

use crate::disk::Disk;
use crate::world::{Process, SMALL_PARTS, World};

/// How inputs are ordered within a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Key,
    Int,
    Text,
    Time,
}

/// What stands between inputs, and what their first line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Newline,
    OneHeader,
}

#[derive(Debug, Clone)]
struct Object {
    group: u8,
    number: u32,
    word: String,
    second: u32,
    body: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Case {
    objects: Vec<Object>,
    order: Order,
    between: Between,
    max_bytes: Option<u64>,
    max_objects: Option<u64>,
    min_objects: u64,
}

const HEADER: &[u8] = b"a,b,c\n";

impl Object {
    fn key(&self) -> String {
        let (minute, second) = (self.second / 60, self.second % 60);
        format!("raw/g{}/{}_{}_2026-01-01T00-{minute:02}-{second:02}.csv", self.group, self.number, self.word)
    }

    /// What lies in the store.
    fn stored(&self, between: Between) -> Vec<u8> {
        match between {
            Between::OneHeader => [HEADER, &self.body].concat(),
            Between::Nothing | Between::Newline => self.body.clone(),
        }
    }
}

impl Case {
    fn config(&self, state: &str, from: &str, to: &str) -> String {
        let order = match self.order {
            Order::Key => "",
            Order::Int => "order_by = [\"n\"]\n",
            Order::Text => "order_by = [\"word\"]\n",
            Order::Time => "order_by = [\"t\"]\n",
        };
        let between = match self.between {
            Between::Nothing => "separator = \"none\"\n",
            Between::Newline => "separator = \"newline\"\n",
            Between::OneHeader => "header = \"first\"\n",
        };
        let bytes = self.max_bytes.map_or(String::new(), |n| format!(", max_bytes = \"{n}\""));
        let objects = self.max_objects.map_or(String::new(), |n| format!(", max_objects = {n}"));
        format!(
            "{state}[flows.all]\ndo = \"combine\"\nfrom = \"{from}/{{g}}/{{n:int}}_{{word}}_{{t:%Y-%m-%dT%H-%M-%S}}.csv\"\n\
             {order}{between}batch = {{ min_objects = {}{bytes}{objects} }}\nto = \"{to}/{{g}}-{{index:03}}.csv\"\n",
            self.min_objects
        )
    }

    /// The naive model.
    fn outputs(&self) -> BTreeMap<String, Vec<u8>> {
        self.batches().0
    }

    /// What is made, and the objects of batches that are too small.
    fn batches(&self) -> (BTreeMap<String, Vec<u8>>, Vec<Object>) {
        let mut left = Vec::new();
        let mut groups: BTreeMap<u8, Vec<&Object>> = BTreeMap::new();
        for object in &self.objects {
            groups.entry(object.group).or_default().push(object);
        }
        let mut outputs = BTreeMap::new();
        for (group, mut objects) in groups {
            objects.sort_by_key(|object| object.key());
            match self.order {
                Order::Key => {}
                Order::Int => objects.sort_by_key(|object| object.number),
                Order::Text => objects.sort_by_key(|object| object.word.clone()),
                Order::Time => objects.sort_by_key(|object| object.second),
            }
            let size = |object: &&Object| object.stored(self.between).len() as u64;
            let (mut batches, mut batch): (Vec<Vec<&Object>>, Vec<&Object>) = (Vec::new(), Vec::new());
            for object in objects {
                let bytes: u64 = batch.iter().map(size).sum();
                let too_many = batch.len() as u64 + 1 > self.max_objects.unwrap_or(u64::MAX);
                let too_much = bytes + size(&object) > self.max_bytes.unwrap_or(u64::MAX);
                if !batch.is_empty() && (too_many || too_much) {
                    batches.push(std::mem::take(&mut batch));
                }
                batch.push(object);
            }
            batches.push(batch);
            let (batches, small): (Vec<_>, Vec<_>) =
                batches.into_iter().partition(|batch| batch.len() as u64 >= self.min_objects);
            left.extend(small.into_iter().flatten().cloned());
            for (index, batch) in batches.iter().enumerate() {
                let mut body: Vec<u8> = Vec::new();
                for (n, object) in batch.iter().enumerate() {
                    let stored = object.stored(self.between);
                    let added = match self.between {
                        Between::OneHeader if n > 0 => &stored[HEADER.len()..],
                        Between::OneHeader | Between::Nothing | Between::Newline => &stored[..],
                    };
                    let separate = match self.between {
                        Between::Nothing => false,
                        Between::Newline | Between::OneHeader => true,
                    };
                    // A newline stands behind an input that lacks one, unless nothing follows it.
                    if separate && n > 0 && body.last() != Some(&b'\n') {
                        body.push(b'\n');
                    }
                    body.extend_from_slice(added);
                }
                outputs.insert(format!("g{group}-{index:03}.csv"), body);
            }
        }
        (outputs, left)
    }

    /// What the next run makes of objects that stayed apart because a batch stood between them, without names.
    fn later(&self) -> Vec<Vec<u8>> {
        let left = Case { objects: self.batches().1, ..self.clone() };
        let mut bodies: Vec<_> = left.outputs().into_values().collect();
        bodies.sort();
        bodies
    }
}

/// Sizes around the limits of small parts, most of them small.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 1usize..60,
        2 => prop::sample::select(vec![49, 50, 51, 99, 100, 101, 149, 150, 5000, 5001]),
        1 => 100usize..9000,
    ]
}

fn object() -> impl Strategy<Value = Object> {
    (0u8..3, 0u32..2000, "[a-c]{1,2}", 0u32..3600, size(), any::<bool>(), any::<u64>()).prop_map(
        |(group, number, word, second, size, ends, seed)| {
            let mut body: Vec<u8> = fixtures::random_bytes(seed, size).iter().map(|b| b'a' + b % 26).collect();
            if ends {
                *body.last_mut().unwrap() = b'\n';
            }
            Object { group, number, word, second, body }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(object(), 0..14),
        prop::sample::select(vec![Order::Key, Order::Int, Order::Text, Order::Time]),
        prop::sample::select(vec![Between::Nothing, Between::Newline, Between::OneHeader]),
        prop::option::of(prop::sample::select(vec![1u64, 60, 150, 400, 6000])),
        prop::option::of(1u64..5),
        1u64..4,
    )
        .prop_map(|(mut objects, order, between, max_bytes, max_objects, min_objects)| {
            objects.sort_by_key(Object::key);
            objects.dedup_by_key(|object| object.key());
            // Fewer would be refused: no batch could ever close.
            let max_objects = max_objects.map(|most| most.max(min_objects));
            Case { objects, order, between, max_bytes, max_objects, min_objects }
        })
}

fn check(case: &Case, report: &RunReport) {
    let expected = case.outputs();
    let status = if expected.is_empty() { Status::Nothing } else { Status::Committed };
    assert_eq!(report.status, status, "{report:#?}");
    let account = &report.account;
    assert_eq!(account.check_bytes(), Ok(()));
    assert_eq!(account.objects_out, expected.len() as u64);
    assert_eq!(account.bytes_out, expected.values().map(|body| body.len() as u64).sum::<u64>());
    let mut published: Vec<(String, u64)> =
        report.outputs.iter().map(|o| (o.key.file_name().to_owned(), o.bytes)).collect();
    published.sort();
    let wanted: Vec<(String, u64)> = expected.into_iter().map(|(name, body)| (name, body.len() as u64)).collect();
    assert_eq!(published, wanted, "the report names what is there");
}

/// A run, what it made, and that a second run makes nothing but of what was too small in the first.
async fn combine(case: &Case, process: impl Fn() -> Process, from: &str, to: &str) {
    let first = process();
    let report = first.run_one().await;
    check(case, &report);
    let flow = first.flow();
    let made = async |store: &dyn baler_store::Store| fixtures::read_all(store, to).await.unwrap();
    let read = made(&*flow.target).await;
    let names: BTreeMap<String, Vec<u8>> =
        read.iter().map(|(key, body)| (key[to.len()..].to_owned(), body.to_vec())).collect();
    assert_eq!(names, case.outputs());
    let versions = fixtures::list_all(&*flow.target, to).await.unwrap();
    let sources = fixtures::list_all(&*flow.source, from).await.unwrap();
    assert_eq!(sources.len(), case.objects.len(), "sources are kept");
    let (again, later) = (process().run_one().await, case.later());
    let status = if later.is_empty() { Status::Nothing } else { Status::Committed };
    assert_eq!(again.status, status, "{again:#?}");
    let mut more: Vec<Vec<u8>> = Vec::new();
    for (key, body) in made(&*flow.target).await {
        if !read.contains_key(&key) {
            more.push(body.to_vec());
        }
    }
    more.sort();
    assert_eq!(more, later);
    let kept = fixtures::list_all(&*flow.target, to).await.unwrap();
    assert!(versions.iter().all(|version| kept.contains(version)), "not even rewritten");
    assert_eq!(fixtures::list_all(&*flow.source, from).await.unwrap(), sources);
}

fn few(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(few(150))]

    #[test]
    fn outputs_are_those_of_the_naive_model_where_the_store_copies(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::with_parts(SMALL_PARTS);
            for object in &case.objects {
                world.put(&object.key(), object.stored(case.between)).await;
            }
            let config = case.config("", "lake:raw", "lake:out");
            combine(&case, || world.process(&config, None), "raw/", "out/").await;
            assert!(world.lake.upload_ids().is_empty());
            assert!(world.read("_baler_tmp/").await.is_empty(), "nothing private is left");
        });
    }

    /// Between stores that cannot copy from each other every byte is read and sent.
    #[test]
    fn outputs_are_those_of_the_naive_model_where_every_byte_passes_through(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::with_parts(SMALL_PARTS);
            for object in &case.objects {
                world.put(&object.key(), object.stored(case.between)).await;
            }
            let config = case.config("", "lake:raw", "other:out");
            combine(&case, || world.process(&config, None), "raw/", "out/").await;
            assert!(world.other.upload_ids().is_empty());
        });
    }
}

proptest! {
    #![proptest_config(few(24))]

    #[test]
    fn outputs_are_those_of_the_naive_model_in_a_directory(case in case()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let disk = Disk::new();
            for object in &case.objects {
                disk.write(&format!("lake/{}", object.key()), object.stored(case.between));
            }
            let config = case.config("[stores]\nlake = \"./lake\"\n", "lake:raw", "lake:out");
            combine(&case, || disk.process(&config), "raw/", "out/").await;
            assert_eq!(disk.files("lake/.baler-tmp"), [""; 0], "no temporary file is left");
        });
    }
}

/// A part that is as large as a part may be gets a newline more.
#[tokio::test(start_paused = true)]
async fn regression_newlines_do_not_make_a_part_too_large() {
    let object = |number, size| Object { group: 0, number, word: "a".into(), second: 0, body: vec![b'x'; size] };
    let objects = vec![object(1, 5000), object(2, 60), object(3, 1)];
    let case = Case {
        objects,
        order: Order::Int,
        between: Between::Newline,
        max_bytes: None,
        max_objects: None,
        min_objects: 1,
    };
    let world = World::with_parts(SMALL_PARTS);
    for object in &case.objects {
        world.put(&object.key(), object.stored(case.between)).await;
    }
    let config = case.config("", "lake:raw", "other:out");
    combine(&case, || world.process(&config, None), "raw/", "out/").await;
}

/// Two objects that are too small by themselves stood on both sides of a batch: they are neighbours once that is made.
#[tokio::test(start_paused = true)]
async fn what_a_batch_kept_apart_is_joined_by_the_next_run() {
    let object = |number, size| Object { group: 1, number, word: "a".into(), second: 0, body: vec![b'x'; size] };
    let case = Case {
        objects: vec![object(1, 101), object(2, 300), object(3, 1), object(4, 100)],
        order: Order::Int,
        between: Between::Nothing,
        max_bytes: Some(400),
        max_objects: None,
        min_objects: 2,
    };
    assert_eq!((case.outputs().len(), case.later()), (1, vec![vec![b'x'; 201]]));
    let world = World::with_parts(SMALL_PARTS);
    for object in &case.objects {
        world.put(&object.key(), object.stored(case.between)).await;
    }
    let config = case.config("", "lake:raw", "lake:out");
    combine(&case, || world.process(&config, None), "raw/", "out/").await;
}
