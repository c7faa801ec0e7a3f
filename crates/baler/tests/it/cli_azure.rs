//! The binary against Azurite: account, key, token and endpoint as the Azure CLI finds them.

use std::process::{Command, Stdio};
use std::sync::Arc;

use baler_store::azure::{AzureOptions, AzureSecret, AzureStore};
use baler_store::{Store, SystemClock, SystemIds};
use baler_testkit::azurite::{ACCOUNT, Azurite, KEY};
use baler_testkit::fixtures::{key, read};
use serde_json::Value;

use crate::bench::{Bench, Done, ORDERS};

/// A container with six objects of one day, and a flow over it.
async fn bench(azurite: &Azurite) -> (Bench, AzureStore) {
    let options = AzureOptions {
        endpoint: Some(azurite.endpoint.clone()),
        ..AzureOptions::new("azure", ACCOUNT, "corp", AzureSecret::SharedKey(KEY.into()))
    };
    let store = AzureStore::new(options, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
    store.create_container().await.unwrap();
    for n in 1..=6 {
        let name = key(&format!("lake/in/2026-01-01/{n}.jsonl"));
        store.put(&name, format!("{{\"id\":{n}}}\n").into()).await.unwrap();
    }
    let config =
        ORDERS.replace("./data", "az://corp/lake").replace("version = 1", "version = 1\nstate = \"lake:_baler\"");
    (Bench::new(&config), store)
}

fn with(bench: &Bench, env: &[(&str, &str)], args: &[&str]) -> Done {
    let mut command: Command = bench.command(args);
    command.envs(env.iter().copied());
    bench.finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_runs_on_azure_from_check_to_verify() {
    let Some(azurite) = Azurite::start() else { return };
    let (bench, store) = bench(&azurite).await;
    let connection = format!("AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={}", azurite.endpoint);
    let env = [("AZURE_STORAGE_CONNECTION_STRING", connection.as_str())];
    let done = with(&bench, &env, &["check"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("out/2026-01-01.jsonl"), "{done:?}");
    let plan = with(&bench, &env, &["plan"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(!plan.stdout.contains("USD"), "prices of another cloud: {plan:?}");
    // The same account in parts.
    let env = [
        ("AZURE_STORAGE_ACCOUNT", ACCOUNT),
        ("AZURE_STORAGE_KEY", KEY),
        ("AZURE_STORAGE_SERVICE_ENDPOINT", azurite.endpoint.as_str()),
    ];
    let done = with(&bench, &env, &["run", "--format", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let report: Value = serde_json::from_str(done.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(report["outputs"][0]["key"], "out/2026-01-01.jsonl", "{report}");
    let out = read(&store, "lake/out/2026-01-01.jsonl").await.unwrap();
    assert!(out.starts_with(b"{\"id\":1}\n{\"id\":2}\n"), "{out:?}");
    let done = with(&bench, &env, &["verify", report["run"].as_str().unwrap()]);
    assert_eq!(done.code, 0, "{done:?}");
    for missing in ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"] {
        let without: Vec<_> = env.into_iter().filter(|(name, _)| *name != missing).collect();
        let done = with(&bench, &without, &["run"]);
        assert_ne!(done.code, 0, "without {missing}: {done:?}");
        assert!(done.stderr.contains(missing) && done.stderr.contains("hint:"), "{done:?}");
        assert!(!done.stderr.contains(KEY), "{done:?}");
    }
}

#[test]
fn the_policy_says_what_azure_asks_for() {
    let config = ORDERS.replace("./data", "az://corp/lake");
    let done = Bench::new(&config).baler(&["check", "--iam"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("`az://corp`") && done.stderr.contains("sp=rcwdl"), "{done:?}");
}
