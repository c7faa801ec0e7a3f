//! The proof of a store finds every server out that breaks a condition, names what it broke, and blames nothing else.

use std::sync::Arc;

use baler_store::{Proven, Store, SystemIds, Verdict, prove};
use baler_testkit::s3::{Conditional, Conditions, S3Options, Uploads};

/// What is proven, in the order of [`verdicts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ability {
    Ledger,
    PublishCreate,
    PublishReplace,
    ConditionalDelete,
}

use Ability::{ConditionalDelete, Ledger, PublishCreate, PublishReplace};

fn verdicts(proven: &Proven) -> [(Ability, &Verdict); 4] {
    [
        (Ledger, &proven.ledger),
        (PublishCreate, &proven.publish_create),
        (PublishReplace, &proven.publish_replace),
        (ConditionalDelete, &proven.conditional_delete),
    ]
}

async fn proof_of(options: S3Options) -> Proven {
    let server = crate::s3::server(options).await;
    let store: Arc<dyn Store> = crate::s3::store(&server, "");
    prove(&store, "_probe", 5, &SystemIds).await.unwrap()
}

/// A liar fails in one ability, in these words; `*` is a number of winners from 2 to 8.
async fn is_found_out(options: S3Options, liar: &str, ability: Ability, words: &str) {
    let proven = proof_of(options).await;
    for (which, verdict) in verdicts(&proven) {
        match verdict {
            Verdict::Proven if which != ability => {}
            Verdict::Failed(failure) if which == ability => {
                let any = ('2'..='8').any(|n| failure.what == words.replace('*', &n.to_string()));
                assert!(any, "{liar}: it says `{}`", failure.what);
            }
            verdict => panic!("{liar}: {which:?} is {verdict:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_liar_is_refused_by_name() {
    use Conditional::{CompleteIfAbsent, CompleteIfMatch, DeleteIfMatch, PutIfAbsent};
    use Conditions::{Ignored, NotAtomic};
    let liars = [
        (PutIfAbsent, Ignored, Ledger, "accepted 8 of 8 racing `If-None-Match` writes"),
        (PutIfAbsent, NotAtomic, Ledger, "accepted * of 8 racing `If-None-Match` writes"),
        (CompleteIfMatch, Ignored, PublishReplace, "accepted 8 of 8 racing `If-Match` completions"),
        (CompleteIfMatch, NotAtomic, PublishReplace, "accepted * of 8 racing `If-Match` completions"),
        (
            DeleteIfMatch,
            Ignored,
            ConditionalDelete,
            "accepted an `If-Match` delete whose version was not there any more",
        ),
        (DeleteIfMatch, NotAtomic, ConditionalDelete, "accepted * of 8 racing `If-Match` deletes"),
    ];
    for (write, conditions, ability, words) in liars {
        let options = S3Options { exception: Some((write, conditions)), ..S3Options::default() };
        is_found_out(options, &format!("{write:?} {conditions:?}"), ability, words).await;
    }
    // Without a version of its own to begin with, replacing and deleting cannot be tried: that is said, not passed.
    for (conditions, words) in [
        (Ignored, "accepted 8 of 8 racing `If-None-Match` completions"),
        (NotAtomic, "accepted * of 8 racing `If-None-Match` completions"),
    ] {
        let options = S3Options { exception: Some((CompleteIfAbsent, conditions)), ..S3Options::default() };
        let proven = proof_of(options).await;
        assert!(proven.ledger_ok(), "{conditions:?}: {proven:?}");
        let failed = proven.publish_create.require().unwrap_err().what;
        assert!(('2'..='8').any(|n| failed == words.replace('*', &n.to_string())), "{conditions:?}: {failed}");
        for verdict in [&proven.publish_replace, &proven.conditional_delete] {
            let untried = verdict.require().unwrap_err().what;
            assert_eq!(untried, "could not be tried: publishing at a new key failed", "{conditions:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_that_brings_a_deleted_object_back_is_found_out() {
    let options = S3Options { uploads: Uploads::StayOpen, ..S3Options::default() };
    let words = "a completion repeated after its object was deleted brought it back";
    is_found_out(options, "uploads that stay open", PublishCreate, words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_server_is_proven() {
    let proven = proof_of(S3Options::default()).await;
    for (ability, verdict) in verdicts(&proven) {
        assert!(verdict.is_proven(), "{ability:?}: {verdict:?}");
    }
}
