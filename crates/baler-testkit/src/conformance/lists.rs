//! Listings: order, prefixes, folding, pages.

use baler_model::InputVersion;
use baler_store::{ListRequest, StoreError};
use bytes::Bytes;

use super::{Keys, Subject};
use crate::fixtures::{fill, key, list_all, write_id};

/// Keys whose order by bytes differs from the orders that one might expect.
const ODD: &[&str] = &[
    "a",
    "a-b",
    "a.b",
    "a/b",
    "a/b/c",
    "a0",
    "A",
    "b b",
    "b+b",
    "b%20b",
    "é",
    "z/ü/1",
    "z/ü/0",
    "日本",
    "\u{10000}",
    "\u{ffee}",
];

/// Puts these keys and returns those that the store took, sorted by bytes.
async fn put_all(s: &Subject, names: &[&str]) -> Vec<String> {
    let mut taken = Vec::new();
    for name in names {
        match s.store.put_if_absent(&s.key(name), Bytes::from((*name).to_owned()), &write_id("w")).await {
            Ok(_) => taken.push(s.name(name)),
            Err(StoreError::Unsupported { .. }) if s.expect.keys == Keys::SomeRefused => {}
            Err(error) => panic!("`{name}` was not put: {error}"),
        }
    }
    taken.sort();
    taken
}

fn names(objects: &[InputVersion]) -> Vec<&str> {
    objects.iter().map(|object| object.key.as_str()).collect()
}

/// All objects and prefixes of a folded listing, pages joined.
async fn folded(s: &Subject, prefix: &str) -> (Vec<String>, Vec<String>) {
    let mut request = ListRequest { prefix: s.name(prefix), folded: true, ..ListRequest::default() };
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = s.store.list(&request).await.unwrap();
        objects.extend(page.objects.iter().map(|object| object.key.to_string()));
        prefixes.extend(page.prefixes);
        match page.next {
            Some(token) => request.token = Some(token),
            None => return (objects, prefixes),
        }
    }
}

pub(super) async fn a_listing_is_sorted_by_key_bytes(s: Subject) {
    let taken = put_all(&s, ODD).await;
    assert!(taken.len() * 2 > ODD.len(), "most keys are taken: {taken:?}");
    assert_eq!(names(&list_all(&*s.store, &s.prefix).await.unwrap()), taken);
}

pub(super) async fn a_listing_agrees_with_head(s: Subject) {
    fill(&*s.store, &[(&s.name("one"), b"1"), (&s.name("deep/two"), b"22"), (&s.name("none"), b"")]).await.unwrap();
    let objects = list_all(&*s.store, &s.prefix).await.unwrap();
    assert_eq!(objects.len(), 3);
    for object in objects {
        let head = s.store.head(&object.key).await.unwrap().expect("what is listed is there");
        assert_eq!((object.version(), object.size, object.modified), (head.version, head.size, head.modified));
    }
}

pub(super) async fn a_prefix_is_matched_byte_for_byte(s: Subject) {
    put_all(&s, &["pre", "prefix", "prefix-2/x", "Prefix", "prefi", "other/prefix", "p+e", "p e"]).await;
    let listed = async |prefix: &str| {
        let objects = list_all(&*s.store, &s.name(prefix)).await.unwrap();
        names(&objects).iter().map(|name| name[s.prefix.len()..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("prefix").await, ["prefix", "prefix-2/x"]);
    assert_eq!(listed("prefix-2/").await, ["prefix-2/x"]);
    assert_eq!(listed("pre").await, ["pre", "prefi", "prefix", "prefix-2/x"]);
    assert_eq!(listed("p+").await, ["p+e"]);
    assert_eq!(listed("prefix/").await, [""; 0]);
}

pub(super) async fn a_folded_listing_shows_one_level(s: Subject) {
    put_all(&s, &["a1", "a2/x", "a2/y/z", "a3/x", "b/x", "b1"]).await;
    let list = async |prefix: &str| {
        let (objects, prefixes) = folded(&s, prefix).await;
        let cut = |texts: Vec<String>| texts.iter().map(|text| text[s.prefix.len()..].to_owned()).collect::<Vec<_>>();
        (cut(objects), cut(prefixes))
    };
    let both = |objects: &[&str], prefixes: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        (owned(objects), owned(prefixes))
    };
    assert_eq!(list("").await, both(&["a1", "b1"], &["a2/", "a3/", "b/"]));
    assert_eq!(list("a").await, both(&["a1"], &["a2/", "a3/"]));
    assert_eq!(list("a2/").await, both(&["a2/x"], &["a2/y/"]));
    assert_eq!(list("a2").await, both(&[], &["a2/"]));
}

pub(super) async fn a_listing_starts_behind_the_given_key(s: Subject) {
    let all = put_all(&s, &["a", "b", "b-1", "c/d", "c/e", "d"]).await;
    for start in ["", "0", "a", "aa", "b", "c", "c/d", "d", "e"] {
        let start = s.name(start);
        let mut request =
            ListRequest { prefix: s.prefix.clone(), start_after: Some(start.clone()), ..ListRequest::default() };
        let mut listed = Vec::new();
        loop {
            let page = s.store.list(&request).await.unwrap();
            listed.extend(page.objects.iter().map(|object| object.key.to_string()));
            match page.next {
                Some(token) => request.token = Some(token),
                None => break,
            }
        }
        let expected: Vec<_> = all.iter().filter(|name| **name > start).cloned().collect();
        assert_eq!(listed, expected, "behind `{start}`");
    }
}

pub(super) async fn pages_hold_every_key_once_and_in_order(s: Subject) {
    let mut expected: Vec<_> = (0..s.expect.listed).map(|n| s.name(&format!("{}/{n}", n % 3))).collect();
    for name in &expected {
        s.store.put(&key(name), Bytes::from_static(b"x")).await.unwrap();
    }
    expected.sort();
    assert_eq!(names(&list_all(&*s.store, &s.prefix).await.unwrap()), expected);
}

pub(super) async fn folded_pages_hold_every_prefix_once_and_in_order(s: Subject) {
    let half = s.expect.listed / 2;
    for n in 0..half {
        for name in [format!("{n:04}/x"), format!("{n:04}/y"), format!("{n:04}-file")] {
            s.store.put(&s.key(&name), Bytes::from_static(b"x")).await.unwrap();
        }
    }
    let (objects, prefixes) = folded(&s, "").await;
    assert_eq!(objects, (0..half).map(|n| s.name(&format!("{n:04}-file"))).collect::<Vec<_>>());
    assert_eq!(prefixes, (0..half).map(|n| s.name(&format!("{n:04}/"))).collect::<Vec<_>>());
}

pub(super) async fn a_listing_shows_what_was_just_written_and_not_what_was_just_deleted(s: Subject) {
    for n in 0..5 {
        let key = s.key(&format!("{n}/k"));
        s.store.put(&key, Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(names(&list_all(&*s.store, &s.prefix).await.unwrap()), [key.as_str()]);
        s.store.delete(&key).await.unwrap();
        assert_eq!(names(&list_all(&*s.store, &s.prefix).await.unwrap()), [""; 0]);
    }
}

pub(super) async fn a_prefix_without_objects_lists_nothing(s: Subject) {
    for folded in [false, true] {
        let request = ListRequest { prefix: s.name("nothing/here"), folded, ..ListRequest::default() };
        let page = s.store.list(&request).await.unwrap();
        assert!(page.objects.is_empty() && page.prefixes.is_empty() && page.next.is_none(), "{page:?}");
    }
}
