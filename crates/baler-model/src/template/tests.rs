use proptest::prelude::*;

use super::*;
use crate::Overlap;

const FROM: &str = "in/{day:%Y/%m/%d}/{db}/{topic}_{part:int}_{start:int}-{end:int}.jsonl.gz";
const KEYS: [&str; 3] = [
    "in/2021/06/15/d/t_03_0100-0199.jsonl.gz",
    "in/2021/06/15/d/t_03_0020-0999.jsonl.gz",
    "in/2021/06/15/d/t_03_300-399.jsonl.gz",
];

fn render(template: &str) -> String {
    let pattern = Pattern::parse(FROM).unwrap();
    let run = RunId::try_new("r1").unwrap();
    let context = RenderContext {
        pattern: &pattern,
        keys: &KEYS,
        index: 7,
        now: "2021-07-01T02:03:04.567891Z".parse().unwrap(),
        run: &run,
        partition: Partition::default(),
    };
    Template::parse(template, &pattern).unwrap().render(&context).unwrap().to_string()
}

#[test]
fn names_are_rendered_as_their_form_says() {
    for (template, expected) in [
        ("{db}/{topic}_{part}", "d/t_03"),
        ("{part:05}", "00003"),
        ("{day}", "2021/06/15"),
        ("{day:%Y-%m-01}", "2021-06-01"),
        ("{day:epoch}", "1623715200"),
        ("{start.first}_{end.last}", "0100_399"),
        ("{start.min}_{end.max}", "0020_0999"),
        ("{start.min:08}", "00000020"),
        ("{day.max:%j}", "166"),
        ("{count}_{count:04}_{index:03}", "3_0003_007"),
        ("{today}/{yesterday}/{now}", "2021-07-01/2021-06-30/20210701T020304Z"),
        ("{now:%H%M%S%6f}_{today:%d%b}", "020304567891_01Jul"),
        ("{{{run}}}", "{r1}"),
    ] {
        assert_eq!(render(template), expected, "{template}");
    }
}

#[test]
fn the_group_is_the_names_used_bare_or_formatted() {
    let pattern = Pattern::parse(FROM).unwrap();
    let template = Template::parse("{db}/{day:%Y-%m}/{part:04}/{db}_{start.first}_{count}", &pattern).unwrap();
    assert_eq!(template.group_names().collect::<Vec<_>>(), ["db", "day", "part"]);
    let group = |key: &str| {
        let mut out = String::new();
        template.write_group(&pattern.matches(key).unwrap(), &mut out);
        out
    };
    // A month is one group, and so are numbers that are padded to the same text.
    assert_eq!(group("in/2021/06/15/d/t_03_1-2.jsonl.gz"), group("in/2021/06/16/d/u_3_5-6.jsonl.gz"));
    assert_ne!(group("in/2021/06/15/d/t_3_1-2.jsonl.gz"), group("in/2021/07/15/d/t_3_1-2.jsonl.gz"));
}

#[test]
fn groups_do_not_run_together() {
    let pattern = Pattern::parse("{a}/{b}").unwrap();
    let template = Template::parse("{a}{b}", &pattern).unwrap();
    let mut groups = [String::new(), String::new()];
    for (group, key) in groups.iter_mut().zip(["x/yz", "xy/z"]) {
        template.write_group(&pattern.matches(key).unwrap(), group);
    }
    assert_ne!(groups[0], groups[1]);
}

#[test]
fn what_is_no_template_is_refused_where_it_stands() {
    let pattern = Pattern::parse(FROM).unwrap();
    for (template, offset, message, hint) in [
        ("", 0, "empty", ""),
        ("a/{dya}", 3, "unknown name `dya`", "did you mean `day`?"),
        ("a/{tody}", 3, "unknown name `tody`", "did you mean `today`?"),
        ("{packet:08}", 1, "no meaning in `do = \"combine\"`", "`do = \"extract\"`"),
        ("{partition}", 1, "no meaning", "`do = \"convert\"`"),
        ("{start.frist}", 7, "unknown `.frist`", "did you mean `first`?"),
        ("{start.first.last}", 7, "unknown `.first.last`", ""),
        ("{count.first}", 1, "one for all", ""),
        ("{db:08}", 4, "`08` needs a number, but `db` is text", "{n:int}"),
        ("{db:%Y}", 4, "needs a time", ""),
        ("{part:epoch}", 6, "needs a time", ""),
        ("{part:int}", 6, "types belong in `from`", "{part}"),
        ("{part:x}", 6, "unknown format `x`", ""),
        ("{now:08}", 5, "no time format", ""),
        ("{now:%Q}", 5, "unknown time code", ""),
        ("{run:08}", 5, "takes no format", ""),
        ("a/*.x", 2, "no wildcards", ""),
        ("a{db", 1, "not closed", ""),
        ("a}", 1, "closes nothing", ""),
        ("{manifest.taget}", 1, "a manifest has no", "manifest.target"),
    ] {
        let error = Template::parse(template, &pattern).unwrap_err();
        assert_eq!(error.offset, offset, "{template}: {error}");
        assert!(error.message.contains(message), "{template}: {error}");
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{template}: {:?}", error.hint);
    }
}

#[test]
fn a_captured_name_comes_before_a_reserved_word() {
    let pattern = Pattern::parse("{partition:int}/{x}").unwrap();
    assert!(Template::parse("{partition:03}", &pattern).is_ok());
}

#[test]
fn variables_are_filled_with_literal_text() {
    let pattern = Pattern::parse("{x}").unwrap();
    let open = Template::parse("{manifest.target}/{x}", &pattern).unwrap();
    let run = RunId::try_new("r1").unwrap();
    let context = RenderContext {
        pattern: &pattern,
        keys: &["a"],
        index: 0,
        now: Timestamp::UNIX_EPOCH,
        run: &run,
        partition: Partition::default(),
    };
    assert!(matches!(open.render(&context), Err(RenderError::Unbound(_))));
    let bound = open.bind(&|_| Some("out/{y}".to_owned())).unwrap();
    assert_eq!(bound.render(&context).unwrap().as_str(), "out/{y}/a");
    assert_eq!(bound.as_str(), "out/{{y}}/{x}");
    assert_eq!(bound.literal_prefix(), "out/{y}");
}

#[test]
fn inputs_that_the_pattern_does_not_match_are_our_fault() {
    let pattern = Pattern::parse("{x}.json").unwrap();
    let run = RunId::try_new("r1").unwrap();
    let template = Template::parse("{x.first}", &pattern).unwrap();
    for keys in [&[][..], &["a.csv"][..]] {
        let context = RenderContext {
            pattern: &pattern,
            keys,
            index: 0,
            now: Timestamp::UNIX_EPOCH,
            run: &run,
            partition: Partition::default(),
        };
        assert_eq!(template.render(&context).map_err(|error| error.kind()), Err(Kind::Internal));
    }
}

proptest! {
    /// The text of a pattern of bare names is a template that gives the key back, and the key lies in its shape.
    #[test]
    fn a_key_survives_pattern_and_template(db in "[a-z][a-z_.]{0,5}", n in "[0-9]{1,6}", day in 0i64..40_000) {
        let text = "in/{day}/{db}/{n}.jsonl";
        let pattern = Pattern::parse("in/{day:%Y/%m/%d}/{db}/{n:int}.jsonl").unwrap();
        let mut date = String::new();
        let midnight = Timestamp::from_second(day * 86_400).unwrap();
        TimeFormat::parse("%Y/%m/%d", 0).unwrap().write(midnight, &mut date);
        let key = format!("in/{date}/{db}/{n}.jsonl");
        let template = Template::parse(text, &pattern).unwrap();
        let run = RunId::try_new("r1").unwrap();
        let context = RenderContext { pattern: &pattern, keys: &[&key], index: 0, now: midnight, run: &run, partition: Partition::default() };
        let rendered = template.render(&context).unwrap();
        prop_assert_eq!(rendered.as_str(), key.as_str());
        let again = pattern.matches(rendered.as_str()).unwrap();
        prop_assert_eq!([again.text("db"), again.text("n")], [Some(db.as_str()), Some(n.as_str())]);
        prop_assert_eq!(template.shape().overlaps(&Shape::literal(&key)), Overlap::Yes);
        prop_assert_eq!(template.shape().within(pattern.shape()), Overlap::Yes);
    }
}

#[test]
fn partitions_and_columns_are_named_where_they_are_known() {
    let pattern = Pattern::parse("in/{set}/{start:epoch}.csv.gz").unwrap();
    let columns = ["country".to_owned()];
    let words = Vocabulary { partition: true, columns: &columns };
    let text = "{set}/month={partition:%Y-%m}/country={country}/{partition:epoch}.parquet";
    let template = Template::parse_with(text, &pattern, words).unwrap();
    assert!(template.uses_partition());
    assert_eq!(template.columns().collect::<Vec<_>>(), [0]);
    let run = RunId::try_new("r1").unwrap();
    let render = |start: Option<&str>, country: Option<&str>| {
        let partition = Partition { start: start.map(|text| text.parse().unwrap()), columns: &[country] };
        let keys: &[&str] = &["in/a/1623715200.csv.gz"];
        let now = Timestamp::UNIX_EPOCH;
        let context = RenderContext { pattern: &pattern, keys, index: 0, now, run: &run, partition };
        template.render(&context).unwrap().to_string()
    };
    let june = render(Some("2021-06-01T00:00:00Z"), Some("a/b"));
    assert_eq!(june, "a/month=2021-06/country=a%2Fb/1622505600.parquet");
    let none = render(None, None);
    let word = crate::partition::NULL_PARTITION;
    assert_eq!(none, format!("a/month={word}/country={word}/{word}.parquet"));
    let error = Template::parse_with("{partition}", &pattern, words).unwrap_err();
    assert_eq!(error.message, "`{partition}` does not say how its time is written");
    assert!(Template::parse("{partition:%Y}", &pattern).unwrap_err().message.contains("no meaning"));
}
