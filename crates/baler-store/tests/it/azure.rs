//! The Azure store against Azurite.

use std::sync::Arc;

use baler_model::Key;
use baler_store::azure::{AzureOptions, AzureSecret, AzureStore};
use baler_store::{
    Confirmation, OutputAttributes, Precondition, Proof, PublishOutcome, Store, StoreError, SystemClock, SystemIds,
    prove,
};
use baler_testkit::azurite::{ACCOUNT, Azurite, KEY};
use baler_testkit::conformance::{self, Aborts, Expect, Keys};
use baler_testkit::fixtures::{key, random_bytes, read, stage, stamp};
use bytes::Bytes;

fn open(azurite: &Azurite, change: impl FnOnce(&mut AzureOptions)) -> Result<AzureStore, StoreError> {
    let mut options = AzureOptions {
        endpoint: Some(azurite.endpoint.clone()),
        ..AzureOptions::new("azure", ACCOUNT, "container", AzureSecret::SharedKey(KEY.into()))
    };
    change(&mut options);
    AzureStore::new(options, Arc::new(SystemClock), Arc::new(SystemIds))
}

/// A store over a container that is there.
async fn store(azurite: &Azurite, prefix: &str) -> Arc<AzureStore> {
    let store = open(azurite, |options| options.prefix = prefix.into()).unwrap();
    store.create_container().await.unwrap();
    Arc::new(store)
}

fn expect() -> Expect {
    Expect { keys: Keys::SomeRefused, aborts: Aborts::Silent, ..Expect::object_store() }
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_contract() {
    let Some(azurite) = Azurite::start() else { return };
    conformance::run(store(&azurite, "").await, expect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_contract_below_a_prefix() {
    let Some(azurite) = Azurite::start() else { return };
    let inner = store(&azurite, "lake/é +%2F/").await;
    let claims = conformance::CHECKS.iter().map(|check| check.claim).filter(|claim| !claim.contains("1024_bytes"));
    conformance::run_claims(inner, Expect { rounds: 3, ..expect() }, claims).await;
    let outside = store(&azurite, "").await;
    let all = outside.list(&Default::default()).await.unwrap().objects;
    let strays: Vec<_> = all.iter().filter(|object| !object.key.as_str().starts_with("lake/é +%2F/")).collect();
    assert!(!all.is_empty() && strays.is_empty(), "{strays:?}");
}

/// Fifty rounds of eight writers, as before a ledger is put there.
#[tokio::test(flavor = "multi_thread")]
async fn azurite_is_proven_in_fifty_rounds_and_left_clean() {
    let Some(azurite) = Azurite::start() else { return };
    let azure = store(&azurite, "").await;
    let proven = prove(&(azure.clone() as Arc<dyn Store>), "state/", 50, &SystemIds).await.unwrap();
    assert!(proven.ledger_ok() && proven.publish_create_ok(), "{proven:?}");
    assert!(proven.publish_replace_ok() && proven.conditional_delete_ok(), "{proven:?}");
    assert_eq!(azure.list(&Default::default()).await.unwrap().objects, []);
    assert_eq!(azure.list_staged("").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_at_one_key_neither_see_nor_harm_each_other() {
    let Some(azurite) = Azurite::start() else { return };
    let azure = store(&azurite, "").await;
    let first = stage(&*azure, "out", "a1", &[Bytes::from_static(b"first")]).await.unwrap();
    let second = stage(&*azure, "out", "a2", &[Bytes::from_static(b"second")]).await.unwrap();
    let unfinished = azure.stage(&key("out"), &stamp("a3"), &OutputAttributes::default()).await.unwrap();
    unfinished.write_part(1, vec![Bytes::from_static(b"third")]).await.unwrap();
    azure.abort_staged(&second).await.unwrap();
    assert!(azure.staged_exists(&first).await.unwrap(), "a loser that gives up takes nothing with it");
    assert_eq!(azure.publish(&first, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    let third = unfinished.finish(None).await.unwrap();
    assert!(azure.staged_exists(&third).await.unwrap(), "a commit at the key takes no other attempt's bytes with it");
    assert_eq!(azure.publish(&third, &Precondition::Absent).await.unwrap(), PublishOutcome::Occupied);
    assert_eq!(read(&*azure, "out").await.unwrap(), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_given_up_cannot_be_finished_nor_published() {
    let Some(azurite) = Azurite::start() else { return };
    let azure = store(&azurite, "").await;
    let writer = azure.stage(&key("out"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"late")]).await.unwrap();
    let listed = azure.list_staged("ou").await.unwrap();
    assert_eq!(listed.iter().map(|listing| listing.key.as_str()).collect::<Vec<_>>(), ["out"]);
    azure.abort_listed(&listed[0]).await.unwrap();
    // The blocks of such a writer go nowhere.
    writer.write_part(2, vec![Bytes::from_static(b"later")]).await.unwrap();
    let error = writer.finish(None).await.unwrap_err();
    assert!(error.to_string().contains("given up by another process"), "{error}");
    assert_eq!(azure.head(&key("out")).await.unwrap(), None);
    assert_eq!(azure.list_staged("").await.unwrap(), []);
}

/// A publisher that died between its two steps leaves output and staged blob; nothing may bring the output back later.
#[tokio::test(flavor = "multi_thread")]
async fn confirming_removes_what_a_dead_publisher_left_staged() {
    let Some(azurite) = Azurite::start() else { return };
    let azure = store(&azurite, "").await;
    let bytes = random_bytes(1, 100_000);
    let staged = stage(&*azure, "out", "a1", std::slice::from_ref(&bytes)).await.unwrap();
    // The first step by hand: the same bytes under the same stamp at the key.
    let twin = stage(&*azure, "out", "a1", &[bytes]).await.unwrap();
    assert_eq!(azure.publish(&twin, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert!(azure.staged_exists(&staged).await.unwrap());
    let confirmed = azure.confirm(&staged).await.unwrap();
    assert!(matches!(confirmed, Confirmation::Ours { proof: Proof::ReRead, .. }), "{confirmed:?}");
    assert!(!azure.staged_exists(&staged).await.unwrap(), "it could be published once more");
    azure.delete(&key("out")).await.unwrap();
    assert_eq!(azure.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::StagedGone);
    assert_eq!(azure.head(&key("out")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_carry_type_and_stamp_and_nothing_of_their_staging() {
    let Some(azurite) = Azurite::start() else { return };
    let azure = store(&azurite, "").await;
    let attributes = OutputAttributes { content_type: Some("application/x-lines".into()) };
    let writer = azure.stage(&key("out"), &stamp("a1"), &attributes).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"x")]).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    azure.publish(&staged, &Precondition::Absent).await.unwrap();
    let answer = plain_get(&azurite, &format!("container/out?{}", azure.read_signature(&key("out"))));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: application/x-lines\r\n"), "{answer}");
    assert!(answer.contains(&format!("x-ms-meta-baler: {}\r\n", stamp("a1"))), "{answer}");
    assert!(!answer.contains("x-ms-meta-balerkey") && !answer.contains("balerfinished"), "{answer}");
}

/// The signature that a copy's source carries opens that blob, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_for_one_blob_opens_that_blob_only() {
    let Some(azurite) = Azurite::start() else { return };
    let azure = store(&azurite, "").await;
    for name in ["a b/ü+%2F", "other"] {
        azure.put(&key(name), Bytes::from_static(b"content")).await.unwrap();
    }
    let signature = azure.read_signature(&key("a b/ü+%2F"));
    let answer = plain_get(&azurite, &format!("container/a%20b/%C3%BC%2B%252F?{signature}"));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("content"), "{answer}");
    let answer = plain_get(&azurite, &format!("container/other?{signature}"));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // The same signature as the store's own: it reads, and is told what it may not do.
    let reader = open(&azurite, |options| options.secret = AzureSecret::Sas(format!("?{signature}"))).unwrap();
    assert_eq!(read(&reader, "a b/ü+%2F").await.unwrap(), "content");
    let error = reader.put(&key("a b/ü+%2F"), Bytes::new()).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(error.hint().is_some(), "{error}");
}

fn plain_get(azurite: &Azurite, path: &str) -> String {
    use std::io::{Read, Write};
    let address = azurite.endpoint.strip_prefix("http://").unwrap().strip_suffix(&format!("/{ACCOUNT}")).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET /{ACCOUNT}/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head: Vec<String> = head
        .lines()
        .map(|line| line.split_once(':').map_or(line.to_owned(), |(n, v)| format!("{}:{v}", n.to_lowercase())))
        .collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_what_is_wrong_and_the_remedy() {
    let Some(azurite) = Azurite::start() else { return };
    let azure = store(&azurite, "").await;
    let wrong = AzureSecret::SharedKey("d3Jvbmc=".into());
    let error = open(&azurite, |options| options.secret = wrong).unwrap().head(&key("k")).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(error.hint().unwrap().contains("AZURE_STORAGE_KEY"), "{error:?}");
    let nowhere = open(&azurite, |options| options.container = "nowhere".into()).unwrap();
    let missing = Key::try_new("k").unwrap();
    for error in [
        nowhere.head(&missing).await.unwrap_err(),
        nowhere.get(&missing, None, None).await.unwrap_err(),
        nowhere.list(&Default::default()).await.unwrap_err(),
        nowhere.put(&missing, Bytes::new()).await.unwrap_err(),
        nowhere.delete(&missing).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error}");
        assert!(error.hint().unwrap().contains("create the container"), "{error}");
    }
    let error = azure.put(&key("a/../b"), Bytes::new()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`azure` cannot hold the key `a/../b`: Azure trims dots at the end of a piece between slashes"
    );
}

/// Stands between the store and Azurite, and loses the reply of every `nth` PUT after it took effect.
async fn losing(azurite: &Azurite, nth: usize) -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = azurite.endpoint.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/{ACCOUNT}", listener.local_addr().unwrap());
    let puts = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (address, puts) = (address.clone(), puts.clone());
            tokio::spawn(async move {
                // One request a connection: the server is told to close, and so is the client by the closing.
                let mut request = Vec::new();
                let (head, length) = loop {
                    if client.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                    if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
                        let text = String::from_utf8_lossy(&request[..at]).to_ascii_lowercase();
                        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                        break (at, length.map_or(0, |n| n.parse::<usize>().unwrap()));
                    }
                };
                while request.len() < head + 4 + length {
                    client.read_buf(&mut request).await.unwrap();
                }
                let lost = request.starts_with(b"PUT ") && puts.fetch_add(1, Ordering::SeqCst) % nth == nth - 1;
                let mut server = tokio::net::TcpStream::connect(&address).await.unwrap();
                server.write_all(&request[..head]).await.unwrap();
                server.write_all(b"\r\nConnection: close").await.unwrap();
                server.write_all(&request[head..]).await.unwrap();
                let mut reply = Vec::new();
                server.read_to_end(&mut reply).await.unwrap();
                if !lost {
                    // The client may be gone.
                    drop(client.write_all(&reply).await);
                }
            });
        }
    });
    endpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_contract_while_replies_of_writes_are_lost() {
    let Some(azurite) = Azurite::start() else { return };
    store(&azurite, "").await;
    let endpoint = losing(&azurite, 3).await;
    let azure = open(&azurite, |options| options.endpoint = Some(endpoint)).unwrap();
    let writing =
        |claim: &&str| ["put", "publish", "staged", "part", "output", "replace"].iter().any(|w| claim.contains(w));
    let claims = conformance::CHECKS.iter().map(|check| check.claim).filter(writing);
    let claims: Vec<_> = claims.collect();
    assert!(claims.len() > 20, "{claims:?}");
    conformance::run_claims(Arc::new(azure.clone()), Expect { rounds: 2, ..expect() }, claims).await;
    assert!(azure.meter().read().retries > 20, "replies were lost: {:?}", azure.meter().read());
}
