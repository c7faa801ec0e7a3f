//! What a checked configuration says, where a sample file cannot show it.

use baler_model::config::{
    Addressing, AfterCommit, Deletes, Header, Hosts, Operation, Overwrite, Separator, Trigger, schema,
};
use baler_model::{ByteSize, Config, StoreConfig, StoreId};

use crate::config::load;

fn flow(lines: &str) -> Config {
    let text = format!("version = 1\n[stores]\nlake = \"s3://corporate/raw\"\n[flows.a]\ndo = \"combine\"\n{lines}");
    load(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn separator(from: &str, to: &str) -> Separator {
    let config = flow(&format!("from = \"lake:in/{from}\"\nto = \"lake:out/{to}\""));
    let Operation::Combine(combine) = &config.flows[0].operation else { panic!("{config:?}") };
    combine.separator
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = flow("from = \"lake:in/{x}.jsonl\"\nto = \"lake:out/{x}.jsonl\"");
    assert_eq!(config.state.to_string(), "/etc/etl/.baler");
    assert_eq!(config.state.key("a/log"), ".baler/a/log");
    let flow = config.flow("a").unwrap();
    assert_eq!((flow.batch.max_objects, flow.batch.max_bytes, flow.batch.min_objects), (None, None, 2));
    assert!(flow.batch.settle.is_zero() && flow.sources.delay.is_zero());
    assert_eq!(flow.overwrite, Overwrite::Refuse);
    assert_eq!(flow.sources.after_commit, AfterCommit::Keep);
    assert_eq!(flow.sources.deletes, Deletes::Conditional);
    assert_eq!(flow.trigger, None);
}

#[test]
fn a_separator_is_the_default_of_uncompressed_text() {
    for (from, to, expected) in [
        ("{x}.jsonl", "a.jsonl", Separator::Newline),
        ("{x}.log", "a.log", Separator::Newline),
        ("{x}.jsonl.gz", "a.jsonl.gz", Separator::None),
        ("{x}.bin", "a.bin", Separator::None),
        ("{x}", "{x}", Separator::None),
        ("{x}.CSV", "{x.first}", Separator::Newline),
    ] {
        assert_eq!(separator(from, to), expected, "{from} {to}");
    }
}

#[test]
fn every_key_arrives() {
    let text = include_str!("valid/all_keys.toml");
    let config = load(text).unwrap();
    assert_eq!(config.state.to_string(), "/etc/state");
    assert_eq!(config.flows.iter().map(|flow| flow.name.as_str()).collect::<Vec<_>>(), ["csv", "by_path"]);
    let stores: Vec<String> = config.stores.keys().map(StoreId::to_string).collect();
    assert_eq!(stores, ["here", "lake", "/etc", "/var/log/app", "s3://archive-bucket"]);
    let store = |name: &str| config.stores.iter().find(|(id, _)| id.to_string() == name).unwrap().1;
    let StoreConfig::S3(lake) = store("lake") else { panic!("lake is a bucket") };
    assert_eq!((lake.bucket.as_str(), lake.prefix.as_str()), ("corporate-data", "raw/"));
    assert_eq!((lake.addressing, lake.requests_per_second), (Addressing::Path, Some(500)));
    assert_eq!(lake.ca_bundle.as_deref(), Some("/etc/etl/ca.pem"));
    assert_eq!(lake.tags["team"], "etl");
    let StoreConfig::Directory(here) = store("here") else { panic!("here is a directory") };
    assert_eq!((here.root.as_str(), here.hosts), ("/etc/etl/data", Hosts::Single));

    let csv = config.flow("csv").unwrap();
    assert!(matches!(csv.trigger, Some(Trigger::Every(every)) if every.to_string() == "1h30m"));
    assert_eq!(csv.batch.max_bytes.map(ByteSize::bytes), Some(100 << 20));
    assert_eq!(csv.order.names().collect::<Vec<_>>(), ["part"]);
    assert_eq!(csv.conditions.len(), 2);
    assert_eq!((csv.overwrite, csv.sources.deletes), (Overwrite::Allow, Deletes::Unconditional));
    assert!(matches!(&csv.sources.after_commit, AfterCommit::Archive { to } if to.key("r/k") == "old/r/k"));
    let Operation::Combine(combine) = &csv.operation else { panic!("{csv:?}") };
    assert_eq!(combine.header, Header::First);

    let by_path = config.flow("by_path").unwrap();
    assert_eq!(by_path.from.pattern.as_str(), "{host}/{day:%F}.log");
    assert_eq!(by_path.to.template.as_str(), "logs/{day:%Y-%m}/{host}.log");
}

#[test]
fn overrides_come_after_the_file_and_the_environment_after_both() {
    let config = load(include_str!("valid/overrides.toml")).unwrap();
    let flow = config.flow("a").unwrap();
    assert_eq!(flow.batch.max_objects, Some(5));
    assert_eq!(flow.from.pattern.as_str(), "in/{x}/{n}/*.jsonl");
    assert_eq!(flow.to.template.as_str(), "out/{x}.jsonl");
}

#[test]
fn an_empty_variable_takes_the_default_and_two_dollars_are_one() {
    let text = "# env: EMPTY=\nversion = 1\nstate = \"./${EMPTY:-a}_$${b\"";
    let error = load(text).unwrap_err().to_string();
    // The brace arrives, and is refused as what it now is.
    assert!(error.contains("this place takes no placeholders"), "{error}");
    let config = load(&text.replace("_$${b", "")).unwrap();
    assert_eq!(config.state.path, "a");
}

#[test]
fn a_manifest_flow_is_checked_again_once_it_is_bound() {
    let config = load(include_str!("valid/combine_of_the_manual.toml")).unwrap();
    let rollup = config.flow("rollup").unwrap();
    let check = |source: &str, target: &str| {
        let lookup = |name: &str| Some(if name == "manifest.source" { source.to_owned() } else { target.to_owned() });
        let (from, to) = (rollup.from.pattern.bind(&lookup).unwrap(), rollup.to.template.bind(&lookup).unwrap());
        config.check_bound(rollup, &from, &to).map_err(|conflict| conflict.to_string())
    };
    assert_eq!(check("scrubbed/rollup", "out/rollup.json"), Ok(()));
    assert!(check("scrubbed/rollup", "scrubbed/rollup/1.json").unwrap_err().contains("its own output"));
    assert!(check("a", "_baler/audit/x.json").unwrap_err().contains("lies in the ledger"));
    let foreign = "corporate_storage/ucfs_audit/2021/06/15/d/c/t_0_1_2.jsonl.gz";
    assert!(check("a", foreign).unwrap_err().contains("of flow `audit`"));
}

#[test]
fn the_schema_describes_the_file() {
    let schema = schema();
    let text = schema.to_string();
    for key in ["version", "flows", "max_objects", "after_commit", "requests_per_second", "redshift_manifest"] {
        assert!(text.contains(&format!("\"{key}\":")), "{key}");
    }
    assert!(!text.contains("\"null\"") && !text.contains(":null") && !text.contains("Raw"), "{text}");
    assert_eq!(schema["title"], "baler.toml");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["version"]));
    // Every key is described: unit, default, example.
    let described = |table: &serde_json::Value| {
        let properties = table["properties"].as_object().unwrap();
        properties.iter().all(|(_, property)| property["description"].as_str().is_some_and(|text| !text.is_empty()))
    };
    assert!(described(&schema));
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        if definition.get("properties").is_some() {
            assert!(described(definition), "{name}");
        }
    }
}

#[test]
fn fifty_disjoint_flows_may_delete() {
    let flow = |n: u32| {
        format!(
            "[flows.f{n}]\ndo = \"combine\"\n\
             from = \"lake:in/f{n}/{{day:%Y/%m/%d}}/{{db}}/{{coll}}/{{topic}}_{{p:int}}_{{s:int}}-{{e:int}}.jsonl.gz\"\n\
             to = \"lake:out/{{day:%Y/%m/%d}}/{{db}}/{{coll}}/{{topic}}_{{p}}_{{s.first}}_{{e.last}}_f{n}x.jsonl.gz\"\n\
             sources = {{ after_commit = \"delete\" }}\n"
        )
    };
    let flows: String = (0..50).map(flow).collect();
    let config = load(&format!("version = 1\n[stores]\nlake = \"s3://corporate\"\n{flows}")).unwrap();
    assert_eq!(config.flows.len(), 50);
}
