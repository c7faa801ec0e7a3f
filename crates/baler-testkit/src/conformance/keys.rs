//! Odd keys: kept byte for byte, or refused.

use std::collections::BTreeMap;

use baler_store::{OutputAttributes, Precondition, PublishOutcome, StoreError};
use bytes::Bytes;

use super::{Deviation, Keys, Subject};
use crate::fixtures::{list_all, read, stamp, write_id};

/// Keys that something on the way might change. Control characters are among them: a listing must not lose them.
const ODD: &[&str] = &[
    "plain",
    "a b",
    "a+b",
    "a%20b",
    "a%2Fb",
    "a%252Fb",
    "double//slash",
    "/leading",
    "up/../there",
    "./here",
    "here/.",
    "..",
    "trailing/",
    "trailing//",
    "ümläut/日本語/🦀",
    "e\u{301}",
    "\u{e9}",
    "a&b=c?d#e",
    "a;b:c,d@e$f!g'h(i)j*k~l^m`n|o\\p\"q<r>s[t]u{v}w",
    "tab\there",
    "line\nbreak",
    ".hidden/.file",
    ".baler-tmp-like/x",
    "CON",
    "-dash",
    " space ",
];

fn odd_keys(s: &Subject) -> impl Iterator<Item = &'static str> {
    let line_breaks = !s.expect.deviates(Deviation::RefusesLineBreaks);
    ODD.iter().copied().filter(move |name| line_breaks || !name.contains('\n'))
}

fn refused(s: &Subject, name: &str, error: &StoreError) {
    let allowed = s.expect.keys == Keys::SomeRefused && matches!(error, StoreError::Unsupported { .. });
    assert!(allowed, "{name:?}: {error}");
}

pub(super) async fn odd_keys_are_kept_byte_for_byte_or_refused(s: Subject) {
    let mut kept = BTreeMap::new();
    for name in odd_keys(&s) {
        let key = s.key(name);
        match s.store.put_if_absent(&key, Bytes::from(name.to_owned()), &write_id("w")).await {
            Ok(_) => kept.insert(s.name(name), name),
            Err(error) => {
                refused(&s, name, &error);
                continue;
            }
        };
        let head = s.store.head(&key).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        assert_eq!(head.map(|head| head.size), Some(name.len() as u64), "{name:?}");
    }
    assert!(kept.len() * 2 > ODD.len(), "most keys are kept: {kept:?}");
    let listed = list_all(&*s.store, &s.prefix).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(listed, kept.keys().collect::<Vec<_>>());
    for (key, name) in &kept {
        assert_eq!(read(&*s.store, key).await.unwrap(), *name);
        s.store.delete(&s.key(name)).await.unwrap();
    }
    assert!(list_all(&*s.store, &s.prefix).await.unwrap().is_empty());
}

pub(super) async fn keys_that_look_alike_are_different_objects(s: Subject) {
    let alike =
        ["a b", "a+b", "a%20b", "a%2Bb", "A b", "e\u{301}", "\u{e9}", "x/y", "x%2Fy", "x//y", "x/./y", "x/z/../y"];
    let mut kept = Vec::new();
    for name in alike {
        match s.store.put_if_absent(&s.key(name), Bytes::from(name.to_owned()), &write_id("w")).await {
            Ok(baler_store::PutOutcome::Created(_)) => kept.push(name),
            Ok(exists) => panic!("{name:?} was taken for another key: {exists:?}"),
            Err(error) => refused(&s, name, &error),
        }
    }
    for name in kept {
        assert_eq!(read(&*s.store, &s.name(name)).await.unwrap(), name);
    }
}

pub(super) async fn a_key_of_1024_bytes_is_kept_or_refused(s: Subject) {
    let rest = 1024 - s.prefix.len();
    let one_name = "n".repeat(rest);
    // Names of 200 bytes, as a file system takes them.
    let names: String = (0..rest).map(|at| if at % 201 == 200 && at + 1 < rest { '/' } else { 'p' }).collect();
    for name in [one_name, names] {
        let key = s.key(&name);
        assert_eq!(key.as_str().len(), 1024);
        match s.store.put_if_absent(&key, Bytes::from_static(b"long"), &write_id("w")).await {
            Ok(_) => {
                assert_eq!(read(&*s.store, key.as_str()).await.unwrap(), "long");
                let listed = list_all(&*s.store, key.as_str()).await.unwrap();
                assert_eq!(listed.iter().map(|object| &object.key).collect::<Vec<_>>(), [&key]);
            }
            Err(error) => refused(&s, "a key of 1024 bytes", &error),
        }
    }
}

pub(super) async fn odd_keys_can_be_staged_and_published(s: Subject) {
    for name in odd_keys(&s) {
        let key = s.key(name);
        let writer = match s.store.stage(&key, &stamp("a1"), &OutputAttributes::default()).await {
            Ok(writer) => writer,
            Err(error) => {
                refused(&s, name, &error);
                continue;
            }
        };
        writer.write_part(1, vec![Bytes::from(name.to_owned())]).await.unwrap();
        let staged = writer.finish(None).await.unwrap();
        assert_eq!(staged.key, key);
        match s.store.publish(&staged, &Precondition::Absent).await {
            Ok(outcome) => assert_eq!(outcome, PublishOutcome::Published, "{name:?}"),
            Err(error) => {
                refused(&s, name, &error);
                s.store.abort_staged(&staged).await.unwrap();
                continue;
            }
        }
        let confirmed = s.store.confirm(&staged).await.unwrap();
        assert!(matches!(confirmed, baler_store::Confirmation::Ours { .. }), "{name:?}: {confirmed:?}");
        assert_eq!(read(&*s.store, key.as_str()).await.unwrap(), name);
        s.store.delete(&key).await.unwrap();
    }
}
