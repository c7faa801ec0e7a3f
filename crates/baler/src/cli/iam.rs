//! The least IAM policy that the flows of a configuration need.
//!
//! `s3:ListBucket` is granted with `StringLikeIfExists`: a HEAD carries no prefix, and without the permission S3 answers
//! a HEAD of an absent key with 403 instead of 404. Source: S3 user guide, "HeadObject", permissions.

use std::collections::{BTreeMap, BTreeSet};

use baler_model::config::{AfterCommit, Connection, Operation, SchemaBase, Trigger};
use baler_model::{Config, FlowConfig, StoreConfig, StoreId};
use serde::Serialize;
use serde_json::{Value, json};

/// Where intermediates and probes lie in a store.
const PRIVATE: &str = baler_engine::ledger::PRIVATE_PREFIX;

/// A policy document.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: &'static str,
    action: Vec<&'static str>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

impl Policy {
    /// Whether nothing is granted.
    pub(super) fn is_empty(&self) -> bool {
        self.statement.is_empty()
    }
}

/// What is done to the keys below a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Read,
    Delete,
    Write,
}

impl Use {
    fn actions(self, tagged: bool) -> Vec<&'static str> {
        match self {
            Self::Read => vec!["s3:GetObject"],
            Self::Delete => vec!["s3:DeleteObject"],
            Self::Write => {
                let mut actions = vec!["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"];
                actions.extend(tagged.then_some("s3:PutObjectTagging"));
                actions
            }
        }
    }
}

/// What is done in one bucket, gathered over all flows.
#[derive(Debug, Default)]
struct Bucket {
    partition: &'static str,
    listed: BTreeSet<String>,
    used: BTreeMap<Use, BTreeSet<String>>,
    receives_uploads: bool,
    tagged: bool,
    keys: BTreeSet<String>,
}

/// The least policy for every flow of a configuration; directories need none.
pub(super) fn policy(config: &Config) -> Policy {
    let mut buckets: BTreeMap<String, Bucket> = BTreeMap::new();
    let mut grant = |store: &StoreId, path: &str, uses: &[Use], listed: bool| {
        let Some(StoreConfig::S3(s3)) = config.stores.get(store) else { return };
        let bucket = buckets.entry(s3.bucket.clone()).or_default();
        bucket.partition = partition(s3.region.as_deref());
        bucket.keys.extend(s3.kms_key.clone());
        bucket.tagged |= !s3.tags.is_empty();
        let prefix = format!("{}{path}*", s3.prefix);
        for one in uses {
            bucket.used.entry(*one).or_default().insert(prefix.clone());
            bucket.receives_uploads |= *one == Use::Write;
        }
        if listed {
            bucket.listed.insert(prefix);
        }
    };
    let all = [Use::Read, Use::Write, Use::Delete];
    for flow in &config.flows {
        grant(&config.state.store, &config.state.prefix(), &all, true);
        grant_flow(flow, &mut grant);
    }
    let mut statement = Vec::new();
    for (name, bucket) in buckets {
        statement.extend(statements(&name, bucket));
    }
    statement.extend(tables(config));
    Policy { version: "2012-10-17", statement }
}

/// The Azure containers of a configuration, each once.
pub(super) fn containers(config: &Config) -> Vec<String> {
    let of = |store: &StoreConfig| match store {
        StoreConfig::Azure(azure) => Some(format!("`az://{}`", azure.container)),
        StoreConfig::S3(_) | StoreConfig::Gcs(_) | StoreConfig::Directory(_) => None,
    };
    let all: BTreeSet<String> = config.stores.values().filter_map(of).collect();
    all.into_iter().collect()
}

/// The buckets of Google Cloud Storage, each once.
pub(super) fn google_buckets(config: &Config) -> Vec<String> {
    let of = |store: &StoreConfig| match store {
        StoreConfig::Gcs(gcs) => Some(format!("`gs://{}`", gcs.bucket)),
        StoreConfig::S3(_) | StoreConfig::Azure(_) | StoreConfig::Directory(_) => None,
    };
    let all: BTreeSet<String> = config.stores.values().filter_map(of).collect();
    all.into_iter().collect()
}

fn grant_flow(flow: &FlowConfig, grant: &mut impl FnMut(&StoreId, &str, &[Use], bool)) {
    let all = [Use::Read, Use::Write, Use::Delete];
    let source: &[Use] = match &flow.sources.after_commit {
        AfterCommit::Keep => &[Use::Read],
        AfterCommit::Delete | AfterCommit::Archive { .. } => &[Use::Read, Use::Delete],
    };
    grant(&flow.from.store, flow.from.pattern.literal_prefix(), source, true);
    if let AfterCommit::Archive { to } = &flow.sources.after_commit {
        grant(&to.store, &to.prefix(), &[Use::Read, Use::Write], true);
    }
    if flow.sources.after_commit != AfterCommit::Keep {
        // The proof that the store honours conditional deletes.
        grant(&flow.from.store, PRIVATE, &all, false);
    }
    // Outputs are deleted only by `baler abort --withdraw`, and only while they are the run's own; and by `baler gc` when the
    // manifest of a later build no longer names them.
    grant(&flow.to.store, flow.to.template.literal_prefix(), &all, true);
    if let Operation::Convert(convert) = &flow.operation {
        for target in &convert.targets {
            for template in [Some(&target.template), target.metadata.as_ref()].into_iter().flatten() {
                grant(&flow.to.store, template.literal_prefix(), &all, true);
            }
        }
        grant(&flow.to.store, &format!("{}/{}/", convert.quarantine, flow.name), &all, true);
        if let SchemaBase::S3db(place) = &convert.schema.base {
            grant(&place.store, place.template.literal_prefix(), &[Use::Read], true);
        }
    }
    if let Operation::Scatter(scatter) = &flow.operation {
        grant(&flow.to.store, scatter.summary.literal_prefix(), &all, true);
        grant(&flow.to.store, &format!("{}/{}/", scatter.quarantine, flow.name), &all, true);
    }
    grant(&flow.to.store, PRIVATE, &all, true);
    if let Some(Trigger::Manifests(place)) = &flow.trigger {
        grant(&place.store, &place.prefix(), &all, true);
    }
}

/// What upserts into tables of DynamoDB need; those of other servers than Amazon's nothing.
fn tables(config: &Config) -> Vec<Statement> {
    let mut tables: BTreeMap<String, bool> = BTreeMap::new();
    for flow in &config.flows {
        let Operation::Scatter(scatter) = &flow.operation else { continue };
        let Some(upsert) = &scatter.upsert else { continue };
        let Some(Connection::DynamoDb { region, endpoint: None, .. }) = config.connections.get(&upsert.into) else {
            continue;
        };
        let (partition, region) = (partition(region.as_deref()), region.as_deref().unwrap_or("*"));
        let table = format!("arn:{partition}:dynamodb:{region}:*:table/{}", upsert.table);
        *tables.entry(table).or_default() |= upsert.create;
    }
    let statement = |(table, create): (String, bool)| {
        let mut action = vec!["dynamodb:DescribeTable", "dynamodb:UpdateItem"];
        action.extend(create.then_some("dynamodb:CreateTable"));
        Statement { effect: "Allow", action, resource: vec![table], condition: None }
    };
    tables.into_iter().map(statement).collect()
}

fn partition(region: Option<&str>) -> &'static str {
    match region {
        Some(region) if region.starts_with("cn-") => "aws-cn",
        Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
        Some(_) | None => "aws",
    }
}

fn statements(name: &str, bucket: Bucket) -> Vec<Statement> {
    let Bucket { partition, listed, used, receives_uploads, tagged, keys } = bucket;
    let arn = format!("arn:{partition}:s3:::{name}");
    let mut statements = vec![Statement {
        effect: "Allow",
        action: vec!["s3:ListBucket"],
        resource: vec![arn.clone()],
        condition: Some(json!({ "StringLikeIfExists": { "s3:prefix": outermost(listed) } })),
    }];
    let mut of_bucket = vec!["s3:GetLifecycleConfiguration"];
    of_bucket.extend(receives_uploads.then_some("s3:ListBucketMultipartUploads"));
    statements.push(Statement { effect: "Allow", action: of_bucket, resource: vec![arn.clone()], condition: None });
    for (one, prefixes) in used {
        let resource = outermost(prefixes).into_iter().map(|prefix| format!("{arn}/{prefix}")).collect();
        statements.push(Statement { effect: "Allow", action: one.actions(tagged), resource, condition: None });
    }
    for key in keys {
        let (resource, condition) = match key.as_str() {
            arn if arn.starts_with("arn:") && !arn.contains(":alias/") => (arn.to_owned(), None),
            alias if alias.contains("alias/") => {
                let alias = alias.rsplit(':').next().unwrap_or(alias);
                let condition = json!({ "ForAnyValue:StringEquals": { "kms:ResourceAliases": [alias] } });
                (format!("arn:{partition}:kms:*:*:key/*"), Some(condition))
            }
            id => (format!("arn:{partition}:kms:*:*:key/{id}"), None),
        };
        let action = vec!["kms:Decrypt", "kms:GenerateDataKey"];
        statements.push(Statement { effect: "Allow", action, resource: vec![resource], condition });
    }
    statements
}

/// Drops prefixes that another one covers.
fn outermost(prefixes: BTreeSet<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    // Sorted with the `*` taken off, a prefix comes before all that it covers.
    let mut bare: Vec<&str> = prefixes.iter().map(|prefix| prefix.trim_end_matches('*')).collect();
    bare.sort_unstable();
    for prefix in bare {
        let covered = kept.last().is_some_and(|last| prefix.starts_with(last.trim_end_matches('*')));
        if !covered {
            kept.push(format!("{prefix}*"));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use baler_model::RawConfig;

    use super::*;

    fn policy_of(text: &str) -> Policy {
        policy(&RawConfig::parse(text, "baler.toml", &|_| None, &[]).unwrap().validate("/base").unwrap())
    }

    fn resources(policy: &Policy, action: &str) -> Vec<String> {
        let of = policy.statement.iter().filter(|s| s.action.contains(&action));
        of.flat_map(|s| s.resource.clone()).collect()
    }

    const KEEP: &str = r#"
        version = 1
        state = "lake:_baler"
        [stores]
        lake = "s3://corp/base"
        [flows.a]
        do = "combine"
        from = "lake:in/{n}.jsonl"
        to = "lake:out/{now:%Y-%m-%d}.jsonl"
    "#;

    #[test]
    fn sources_that_are_kept_may_not_be_deleted_or_written() {
        let policy = policy_of(KEEP);
        assert!(resources(&policy, "s3:GetObject").contains(&"arn:aws:s3:::corp/base/in/*".to_owned()));
        for action in ["s3:DeleteObject", "s3:PutObject"] {
            let granted = resources(&policy, action);
            assert!(granted.contains(&"arn:aws:s3:::corp/base/out/*".to_owned()), "{granted:?}");
            assert!(!granted.iter().any(|r| "arn:aws:s3:::corp/base/in/x".starts_with(r.trim_end_matches('*'))));
        }
    }

    #[test]
    fn tables_of_dynamodb_may_be_described_and_written_and_created_where_that_is_asked_for() {
        let text = r#"
            version = 1
            [connections]
            items = { dynamodb = { region = "cn-north-1" } }
            near = { dynamodb = { endpoint = "http://127.0.0.1:8000" } }
            [flows.a]
            do = "scatter"
            from = "./in/{b}.jsonl"
            to = "./out/{b}.json"
            upsert = { into = "items", table = "prices", key = ["itemNo"] }
            [flows.b]
            do = "scatter"
            from = "./other/{b}.jsonl"
            to = "./elsewhere/{b}.json"
            upsert = { into = "near", table = "prices", key = ["itemNo"], create = true }
        "#;
        let table = "arn:aws-cn:dynamodb:cn-north-1:*:table/prices".to_owned();
        for action in ["dynamodb:DescribeTable", "dynamodb:UpdateItem"] {
            assert_eq!(resources(&policy_of(text), action), std::slice::from_ref(&table));
        }
        assert!(resources(&policy_of(text), "dynamodb:CreateTable").is_empty());
        let created = policy_of(&text.replace("key = [\"itemNo\"] }", "key = [\"itemNo\"], create = true }"));
        assert_eq!(resources(&created, "dynamodb:CreateTable"), [table]);
    }

    #[test]
    fn everything_that_a_conversion_reads_and_writes_is_granted() {
        let text = r#"
            version = 1
            state = "lake:_baler"
            [stores]
            lake = "s3://corp/base"
            other = "s3://sets"
            [flows.feeds]
            do = "convert"
            from = "lake:in/{collection}/{dataset}/{start:epoch}.csv"
            schema = { s3db = "other:meta/{collection}/{dataset}/METADATA.json" }
            to = [
              { path = "lake:month/{partition:%Y-%m}.parquet", partition = "month" },
              { layout = "dataclient", prefix = "lake:arrow", partition = "day", format = "arrow" },
            ]
        "#;
        let policy = policy_of(text);
        for prefix in ["month/*", "arrow/*", "_quarantine/feeds/*"] {
            let wanted = format!("arn:aws:s3:::corp/base/{prefix}");
            for action in ["s3:PutObject", "s3:GetObject", "s3:DeleteObject"] {
                assert!(resources(&policy, action).contains(&wanted), "{action} {wanted}: {policy:?}");
            }
        }
        assert!(resources(&policy, "s3:GetObject").contains(&"arn:aws:s3:::sets/meta/*".to_owned()), "{policy:?}");
        assert!(!resources(&policy, "s3:PutObject").iter().any(|arn| arn.contains("sets")), "{policy:?}");
    }

    #[test]
    fn sources_that_are_deleted_may_be() {
        let text = KEEP.replace("do = \"combine\"", "do = \"combine\"\nsources = { after_commit = \"delete\" }");
        let granted = resources(&policy_of(&text), "s3:DeleteObject");
        assert!(granted.contains(&"arn:aws:s3:::corp/base/in/*".to_owned()), "{granted:?}");
    }

    #[test]
    fn directories_need_no_policy() {
        assert!(policy_of(&KEEP.replace("s3://corp/base", "./data")).is_empty());
    }

    #[test]
    fn a_prefix_within_another_is_not_repeated() {
        let prefixes = ["a/*", "a/b*", "ab*", "a*", "b/*"].map(str::to_owned);
        assert_eq!(outermost(prefixes.into()), ["a*", "b/*"]);
    }
}
