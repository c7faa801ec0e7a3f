//! The S3 store against moto, a server that others wrote.

use std::sync::Arc;

use baler_store::s3::{S3Options, S3Store, StaticCredentials};
use baler_store::{SystemClock, SystemIds};
use baler_testkit::conformance::{self, Deviation, Expect};
use baler_testkit::moto::Moto;

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_on_moto() {
    let Some(moto) = Moto::start() else { return };
    moto.create_bucket("conformance");
    let options = S3Options {
        endpoint: Some(moto.endpoint.clone()),
        // moto answers 500 to the completion of an upload that is gone; more tries only take longer.
        max_tries: 3,
        ..S3Options::new("moto", "conformance", "us-east-1")
    };
    let credentials = Arc::new(StaticCredentials::new("test", "testtest"));
    let store = S3Store::new(options, credentials, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
    // Some 300 small requests a second: fewer rounds, no claim less.
    let expect = Expect { rounds: 2, ..Expect::object_store() }
        .deviating([Deviation::ReplacesAnyVersion, Deviation::RefusesLineBreaks]);
    conformance::run(Arc::new(store), expect).await;
}
