use baler_format::{Csv, Format, Ipc};

use super::*;

fn schema(text: &str) -> Schema {
    text.parse().unwrap()
}

const TYPES: &str = "id: int64 not null, price: float64, ok: bool, name: text, amount: decimal(12,2), day: date, \
                     at: timestamp(ms, UTC), civil: timestamp(us)";

fn partition(name: &str, kind: PartitionKind) -> Partition {
    Partition { name: name.to_owned(), kind }
}

fn time(unit: TimeUnit, format: &str, first: &str) -> PartitionKind {
    PartitionKind::Time { unit, pattern: java_pattern(format).unwrap(), first: first.to_owned() }
}

/// One of each kind.
fn kinds() -> Vec<PartitionKind> {
    vec![
        time(TimeUnit::Hour, "%Y-%m-%d %H:00:00", "2021-06-15 20:00:00"),
        time(TimeUnit::Day, "%Y/%m/%d", "2021/06/15"),
        time(TimeUnit::Month, "%Y-%m-01", "2021-06-01"),
        time(TimeUnit::Year, "%Y", "2021"),
        PartitionKind::Int { least: 1_609_459_200, greatest: 4_102_444_800, step: 86_400, digits: 0 },
        PartitionKind::Int { least: 1, greatest: 12, step: 1, digits: 2 },
        PartitionKind::Choice(vec!["eu".to_owned(), "us".to_owned()]),
        PartitionKind::Text,
    ]
}

fn table<'a>(columns: &'a Schema, format: &'a Format, partitions: Vec<Partition>) -> Table<'a> {
    let directories = partitions.iter().map(|partition| format!("{0}=${{{0}}}/", partition.name));
    let template = (!partitions.is_empty()).then(|| format!("s3://lake/feeds/{}", directories.collect::<String>()));
    Table {
        database: "analytics",
        name: "feeds",
        columns,
        partitions,
        location: "s3://lake/feeds".to_owned(),
        template,
        format,
        codec: Codec::None,
    }
}

fn formats() -> [Format; 3] {
    [Format::Parquet, Format::JsonLines, Format::Csv(Csv::default())]
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn every_format_has_its_types_and_readers() {
    let mut out = String::new();
    for format in formats() {
        let nested = match format {
            Format::Csv(_) => String::new(),
            _ => ", tags: list(text), who: struct(date: date, members: list(struct(id: int64, at: timestamp(s, UTC))))"
                .to_owned(),
        };
        let columns = schema(&format!("{TYPES}{nested}"));
        let mut table = table(&columns, &format, vec![]);
        table.codec = Codec::Zstd;
        out.push_str(&format!("-- {format}\n{}{}\n", athena(&table).unwrap(), pretty(&glue(&table).unwrap())));
    }
    insta::assert_snapshot!("types", out);
}

#[test]
fn every_kind_of_partition_is_projected_in_every_format() {
    let columns = schema("id: int64");
    for format in formats() {
        let (mut ddl, mut inputs) = (String::new(), String::new());
        for kind in kinds() {
            let table = table(&columns, &format, vec![partition("part", kind)]);
            ddl.push_str(&athena(&table).unwrap());
            inputs.push_str(&format!("{}\n", pretty(&glue(&table).unwrap())));
        }
        insta::assert_snapshot!(format!("athena_{format}"), ddl);
        insta::assert_snapshot!(format!("glue_{format}"), inputs);
    }
}

#[test]
fn partitions_may_be_several() {
    let columns = schema("id: int64");
    let partitions =
        vec![partition("region", PartitionKind::Text), partition("day", time(TimeUnit::Day, "%F", "2021-01-01"))];
    let table = table(&columns, &Format::Parquet, partitions);
    let text = athena(&table).unwrap();
    assert!(
        text.contains("  `region` string COMMENT 'a query must say which: = or IN',\n  `day` string COMMENT"),
        "{text}"
    );
    assert!(text.contains("'s3://lake/feeds/region=${region}/day=${day}/'"), "{text}");
}

#[test]
fn both_forms_say_the_same() {
    let columns = schema(TYPES);
    for format in formats() {
        for kind in kinds() {
            let mut table = table(&columns, &format, vec![partition("part", kind)]);
            table.codec = Codec::Gzip;
            let (text, input) = (athena(&table).unwrap(), glue(&table).unwrap());
            let storage = &input["StorageDescriptor"];
            let members = [&storage["Columns"], &input["PartitionKeys"]].map(|members| members.as_array().unwrap());
            assert_eq!(members[0].len(), columns.columns().len());
            for member in members.into_iter().flatten() {
                let line = format!("  `{}` {}", member["Name"].as_str().unwrap(), member["Type"].as_str().unwrap());
                assert!(text.contains(&line), "{line}");
            }
            let parameters = [&input["Parameters"], &storage["SerdeInfo"]["Parameters"]];
            for (key, value) in parameters.into_iter().flat_map(|parameters| parameters.as_object().unwrap()) {
                let line = format!("  '{key}' = {}", literal(value.as_str().unwrap()));
                assert!(key == "EXTERNAL" || text.contains(&line), "{line}");
            }
            for class in
                [&storage["InputFormat"], &storage["OutputFormat"], &storage["SerdeInfo"]["SerializationLibrary"]]
            {
                assert!(text.contains(&format!("'{}'", class.as_str().unwrap())));
            }
            assert_eq!(storage["Compressed"], true);
            assert_eq!(storage["Location"], "s3://lake/feeds/");
        }
    }
}

#[test]
fn keys_with_capital_letters_are_mapped() {
    let columns = schema("userId: int64, who: struct(firstName: text, n: list(struct(X: int64)))");
    let text = athena(&table(&columns, &Format::JsonLines, vec![])).unwrap();
    assert!(text.contains("ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'"), "{text}");
    for line in [
        "'case.insensitive' = 'false'",
        "'mapping.userid' = 'userId'",
        "'mapping.firstname' = 'firstName'",
        "'mapping.x' = 'X'",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn quotes_and_odd_names_stay_within_their_quotes() {
    let columns = schema("\"it's\": int64, \"select\": text, \"_x\": text");
    let format = Format::Csv(Csv { quote: b'\'', ..Csv::default() });
    let mut table = table(&columns, &format, vec![]);
    table.location = "s3://lake/it's".to_owned();
    let text = athena(&table).unwrap();
    assert!(text.contains("  `it's` string"), "{text}");
    assert!(text.contains("  `select` string,\n"), "{text}");
    assert!(text.contains("'quoteChar' = '\\''"), "{text}");
    assert!(text.contains("'escapeChar' = '\\\\'"), "{text}");
    assert!(text.contains("LOCATION 's3://lake/it\\'s/'"), "{text}");
    assert_eq!(glue(&table).unwrap()["StorageDescriptor"]["Location"], "s3://lake/it's/");
}

#[test]
fn what_athena_cannot_read_is_refused_with_a_reason() {
    let columns = schema("id: int64");
    let fault = |table: &Table<'_>| {
        let fault = athena(table).unwrap_err();
        assert_eq!(glue(table).unwrap_err(), fault);
        assert!(!fault.hint().is_empty());
        fault.to_string()
    };
    for ipc in [Ipc::Stream, Ipc::File] {
        let format = Format::Arrow(ipc);
        assert_eq!(fault(&table(&columns, &format, vec![])), "Athena cannot read Arrow IPC: it has no reader for it");
    }
    let document = Format::Json { records: vec![] };
    assert_eq!(fault(&table(&columns, &document, vec![])), "Athena cannot read a JSON document that spans lines");
    for (format, codecs) in [
        (Format::Parquet, [Codec::Brotli, Codec::Bzip2].as_slice()),
        (Format::JsonLines, &[Codec::Brotli, Codec::Lz4, Codec::Snappy]),
        (Format::Csv(Csv::default()), &[Codec::Brotli, Codec::Lz4, Codec::Snappy]),
    ] {
        for codec in Codec::ALL {
            let mut table = table(&columns, &format, vec![]);
            table.codec = codec;
            if codecs.contains(&codec) {
                assert_eq!(fault(&table), format!("Athena cannot read {format} that is compressed with {codec}"));
            } else {
                assert!(athena(&table).is_ok(), "{format} {codec}");
            }
        }
    }
}

#[test]
fn columns_that_a_catalog_cannot_hold_are_refused() {
    let fault = |columns: &str, partitions: Vec<Partition>| {
        athena(&table(&schema(columns), &Format::Parquet, partitions)).unwrap_err().to_string()
    };
    assert_eq!(fault("", vec![]), "the table has no columns");
    assert_eq!(
        fault("a: int64, A: text", vec![]),
        "two columns are called `A` in a catalog, which knows no capital letters"
    );
    let day = || vec![partition("Day", PartitionKind::Text)];
    assert_eq!(fault("day: date", day()), "two columns are called `Day` in a catalog, which knows no capital letters");
    assert_eq!(fault("\"a`b\": date", vec![]), "`a`b` cannot be a name in a catalog");
    assert_eq!(fault("\"a\\\\b\": date", vec![]), "`a\\b` cannot be a name in a catalog");
    assert!(fault("a: list(struct(\"b c\": text))", vec![]).contains("its member `b c` has a name"));
    let nested = schema("a: list(text)");
    let csv = Format::Csv(Csv::default());
    let fault = athena(&table(&nested, &csv, vec![])).unwrap_err().to_string();
    assert_eq!(fault, "column `a`: it is list(text), which CSV cannot hold");
}

#[test]
fn partitions_that_cannot_be_projected_are_refused() {
    let columns = schema("id: int64");
    let fault = |kind: PartitionKind, template: Option<&str>, location: &str| {
        let mut table = table(&columns, &Format::Parquet, vec![partition("p", kind)]);
        table.template = template.map(str::to_owned);
        table.location = location.to_owned();
        athena(&table).unwrap_err().to_string()
    };
    let (good, lake) = (Some("s3://lake/${p}/"), "s3://lake/");
    let text = || PartitionKind::Text;
    assert_eq!(fault(text(), None, lake), "partition `p`: the table has no path with placeholders");
    assert_eq!(fault(text(), Some("s3://lake/"), lake), "partition `p`: `s3://lake/` does not hold it");
    let other = Some("s3://lake/${p}/${q}/");
    assert_eq!(fault(text(), other, lake), "partition `q`: `s3://lake/${p}/${q}/` holds it, and it is none");
    assert!(fault(text(), Some("s3://lake/${p}/${q"), lake).contains("a brace that is not closed"));
    assert_eq!(fault(text(), Some("./${p}/"), lake), "`./${p}/` is not on S3");
    assert_eq!(fault(text(), good, "./lake"), "`./lake` is not on S3");
    let int = |least, greatest, step| PartitionKind::Int { least, greatest, step, digits: 0 };
    assert_eq!(fault(int(2, 1, 1), good, lake), "partition `p`: 2 to 1 by 1 is no range");
    assert_eq!(fault(int(1, 2, 0), good, lake), "partition `p`: 1 to 2 by 0 is no range");
    for values in [vec![], vec!["a,b".to_owned()], vec![String::new()]] {
        let what = "partition `p`: its values cannot be listed between commas";
        assert_eq!(fault(PartitionKind::Choice(values), good, lake), what);
    }
    let first = time(TimeUnit::Day, "%F", "a,b");
    assert_eq!(fault(first, good, lake), "partition `p`: `a,b` is no first value");
}

#[test]
fn codes_of_times_are_said_in_javas_words() {
    for (codes, java) in [
        ("%Y-%m-%d", "yyyy-MM-dd"),
        ("%F %T", "yyyy-MM-dd HH:mm:ss"),
        ("%Y/%m/%d/%H", "yyyy/MM/dd/HH"),
        ("%Y-%m-%dT%H", "yyyy-MM-dd'T'HH"),
        ("year%Y", "'year'yyyy"),
        ("%y%jx", "yyDDD'x'"),
        ("%H o'clock", "HH 'o''clock'"),
        ("%%%Y", "%yyyy"),
    ] {
        assert_eq!(java_pattern(codes).as_deref(), Some(java), "{codes}");
    }
    for codes in ["%B", "%b", "%f", "%3f", "%", "%Y%"] {
        assert_eq!(java_pattern(codes), None, "{codes}");
    }
}
