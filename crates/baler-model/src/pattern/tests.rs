use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a pattern captures, as `name=text` joined by blanks; the reason where it does not match.
fn captured(text: &str, key: &str) -> String {
    let pattern = pattern(text);
    match pattern.matches(key) {
        Ok(captures) => {
            let shown: Vec<String> =
                pattern.names().map(|name| format!("{name}={}", captures.text(name).unwrap())).collect();
            shown.join(" ")
        }
        Err(mismatch) => mismatch.to_string(),
    }
}

#[test]
fn placeholders_capture_leftmost_and_greedy() {
    for (text, key, expected) in [
        ("{a}/{b}.json", "x/y.json", "a=x b=y"),
        ("{a}_{b}", "x_y_z", "a=x_y b=z"),
        ("{a}{b}", "xyz", "a=xy b=z"),
        ("{a}{b}", "xä", "a=x b=ä"),
        ("{t}_{p:int}_{s:int}-{e:int}.jsonl.gz", "db.a_b_0_10-19.jsonl.gz", "t=db.a_b p=0 s=10 e=19"),
        ("{n:int}5", "1235", "n=123"),
        ("{n:int}{m:int}", "123", "n=12 m=3"),
        ("{d:%Y/%m/%d}/{x}", "2021/06/15/a", "d=2021/06/15 x=a"),
        ("{x}-{d:%Y%m%d}", "a-b-20210615", "x=a-b d=20210615"),
        ("{e:epoch}.csv", "1623715200.csv", "e=1623715200"),
        ("{c:/[a-z]+|[0-9]+/}{r}", "abc1", "c=abc r=1"),
        ("{c:/a|ab/}{r}", "abc", "c=ab r=c"),
        ("{c:/[a-z]{2}/}", "ab", "c=ab"),
        ("{p:/.+/}/{x}", "a/b/c", "p=a/b x=c"),
        ("{a}/{a}", "x/x", "a=x"),
        ("{a}_{a}", "x_y_x_y", "a=x_y"),
        ("{a}-{b}-{a}", "p-q-r-p", "a=p b=q-r"),
        ("*/{x}", "any/a", "x=a"),
        ("**/{x}", "a/b/c", "x=c"),
        ("**/{x}", "c", "x=c"),
        ("in/**/{x}.json", "in/c.json", "x=c"),
        ("in/**/{x}.json", "in/a/b/c.json", "x=c"),
        ("in/**", "in/a/b", ""),
        ("a**z/{x}", "a/b/z/c", "x=c"),
        ("{{{x}}}", "{a}", "x=a"),
        ("{*}{x}", "*a", "x=a"),
        ("a b+c%2F/{x}", "a b+c%2F/ ü", "x= ü"),
        ("{x}//{y}", "a//b", "x=a y=b"),
        ("_{x}/.{y}", "_a/.b", "x=a y=b"),
        ("*.json", ".json", ""),
    ] {
        assert_eq!(captured(text, key), expected, "{text} on {key}");
    }
}

#[test]
fn what_does_not_match_says_which_piece_and_where() {
    for (text, key, expected) in [
        ("in/{x}.json", "out/a.json", "`in` does not match `out` at byte 0"),
        ("in/{x}.json", "in/a.csv", "`{x}.json` does not match `a.csv` at byte 3"),
        ("in/{x}/b", "in/a/c", "`b` does not match `c` at byte 5"),
        ("in/{n:int}/{x}", "in/a1/b", "`{n:int}` does not match `a1` at byte 3"),
        ("in/{x}", "in/a/b", "the pattern ends at byte 4, where the key goes on with `/b`"),
        ("in/{x}/{y}", "in/a", "`{y}` does not match: the key ends at byte 4"),
        ("in/{d:%Y/%m/%d}/{x}", "in/2021/02/30/a", "`{d:%Y/%m/%d}` does not match `2021` at byte 3"),
        ("in/{x}/ö", "in/a/ä", "`ö` does not match `ä` at byte 5"),
        ("{a}/{a}", "x/y", "`{a}` does not match `y` at byte 2"),
        ("{x}.json", "", "`{x}.json` does not match: the key ends at byte 0"),
    ] {
        assert_eq!(captured(text, key), expected, "{text} on {key}");
    }
}

#[test]
fn hidden_pieces_are_skipped_where_a_placeholder_or_wildcard_stands() {
    for (text, key, piece) in [
        ("in/{x}", "in/_tmp", "_tmp"),
        ("in/{x}", "in/.tmp", ".tmp"),
        ("{x}/{y}", "_a/b", "_a"),
        ("in/**", "in/a/_b/c", "_b"),
        ("**/{x}", "a/.b/c", ".b"),
        ("in/*.json", "in/_a.json", "_a.json"),
        ("in/{x:/.*/}", "in/_a", "_a"),
    ] {
        let expected = Mismatch::Hidden { piece: piece.to_owned() };
        assert_eq!(pattern(text).explain(key), Some(expected), "{text} on {key}");
    }
    // Such a piece does not excuse a key that would not match anyway.
    assert!(matches!(pattern("in/{x}.json").explain("in/_a.csv"), Some(Mismatch::Differs { .. })));
    assert_eq!(pattern("in/a{x}").explain("in/a_b"), None);
}

#[test]
fn values_have_the_type_of_their_placeholder() {
    let pattern = pattern("{d:%Y/%m}/{n:int}_{e:epoch}_{x}");
    let captures = pattern.matches("2021/06/007_86400_z").unwrap();
    assert_eq!(captures.value("n"), Some(Value::Int { text: "007", value: 7 }));
    assert_eq!(captures.value("x"), Some(Value::Text("z")));
    let time = |text: &str| text.parse().unwrap();
    let month = Value::Time { text: "2021/06", timestamp: time("2021-06-01T00:00:00Z"), unit: Unit::Month };
    assert_eq!(captures.value("d"), Some(month));
    let second = Value::Time { text: "86400", timestamp: time("1970-01-02T00:00:00Z"), unit: Unit::Second };
    assert_eq!(captures.value("e"), Some(second));
    assert_eq!(captures.value("y"), None);
}

#[test]
fn numbers_and_times_out_of_range_do_not_match() {
    assert!(pattern("{n:int}").is_match(&"9".repeat(38)));
    assert!(!pattern("{n:int}").is_match(&"9".repeat(39)));
    assert!(!pattern("{n:epoch}").is_match("999999999999999"));
    assert!(!pattern("{d:%Y%m%d}").is_match("20210230"));
}

#[test]
fn what_is_no_pattern_is_refused_where_it_stands() {
    for (text, offset, message, hint) in [
        ("", 0, "empty", "`**`"),
        ("a{x", 1, "not closed", "{{"),
        ("a}b", 1, "closes nothing", "}}"),
        ("{}", 0, "needs a name", "`*`"),
        ("{x:in}", 3, "unknown type `in`", "`int`"),
        ("{x:date}", 3, "unknown type `date`", "%Y-%m-%d"),
        ("{x:%m}", 3, "lacks the year", ""),
        ("{x:%Y-%Q}", 6, "unknown time code `%Q`", ""),
        ("{x:/a(/}", 3, "unclosed group", ""),
        ("{x:/a)(b/}", 3, "unopened group", ""),
        ("{x:/a}", 0, "not closed", "{name:/regex/}"),
        ("{x.first}", 0, "belongs in `to`", "{x}"),
        ("{today}", 0, "reserved", ""),
        ("{a:int}{a:epoch}", 7, "twice", ""),
        ("{a b}", 2, "` ` cannot be part of a name", ""),
        ("{manifest.sorce}", 0, "a manifest has no `sorce`", "manifest.source"),
        ("{1a}", 0, "begins with a digit", ""),
    ] {
        let error = Pattern::parse(text).unwrap_err();
        assert_eq!(error.offset, offset, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{text}: {:?}", error.hint);
    }
    let many: String = (0..=MAX_NAMES).map(|n| format!("{{n{n}}}/")).collect();
    assert!(Pattern::parse(&many).is_err());
}

#[test]
fn variables_are_filled_with_literal_text() {
    let open = pattern("{manifest.source}/{part:int}.json");
    assert!(!open.is_bound() && !open.is_match("a/1.json"));
    let bind =
        |source: &'static str| open.bind(&|name| (name == "manifest.source").then(|| source.to_owned())).unwrap();
    for source in ["a/b", "a{b}*", "_x", "{part}"] {
        let bound = bind(source);
        assert!(bound.is_bound());
        assert!(bound.is_match(&format!("{source}/7.json")), "{bound}");
        assert_eq!(bound.literal_prefix(), format!("{source}/"));
        assert!(!bound.is_match("other/7.json"));
    }
    assert_eq!(open.bind(&|_| None), Err(UnboundVariable { name: "manifest.source".to_owned() }));
}

#[test]
fn listings_are_pruned_by_what_could_match() {
    let audit = pattern("a/{day:%Y/%m/%d}/{db}/x_{n:int}.gz");
    for inside in ["", "a/", "a/2021/", "a/2021/12/", "a/2021/12/31/", "a/2021/12/31/db/"] {
        assert!(audit.may_contain(inside), "{inside}");
    }
    for outside in ["b/", "a/x/", "a/2021/13/", "a/2021/12/32/", "a/2021/12/31/_db/", "a/2021/12/31/db/x/"] {
        assert!(!audit.may_contain(outside), "{outside}");
    }
    assert!(pattern("**/{x}").may_contain("a/b/c/"));
    assert!(!pattern("**/{x}").may_contain("a/.b/c/"));
    assert!(pattern("{manifest.source}/{x}").may_contain("a/"));
}

#[test]
fn overlaps_are_decided_by_the_patterns() {
    for (a, b, expected) in [
        ("in/{x}.json", "in/{y}_done.json", Overlap::Yes),
        ("in/{x}.json", "out/{x}.json", Overlap::No),
        ("in/{x}.json", "in/{x}.csv", Overlap::No),
        ("in/{x}", "in/{x}/{y}", Overlap::No),
        ("in/{n:int}", "in/{x:/[a-z]+/}", Overlap::No),
        ("in/{n:int}", "in/{x:/[a-z0-9]+/}", Overlap::Yes),
        ("in/{d:%Y-%m-%d}", "in/{d:%Y-%m}", Overlap::No),
        ("in/{d:%Y/%m}/x", "in/{a}/{b}/x", Overlap::Yes),
        ("**", "a/{x}", Overlap::Yes),
        ("a/**/z", "a/b/{x}", Overlap::Yes),
        ("{x}", "_tmp", Overlap::No),
        ("_{x}", "_tmp", Overlap::Yes),
        ("{x}/{x}", "a/b", Overlap::Maybe),
        ("{x}/{x}", "a/b/c", Overlap::No),
        ("{x:/\\ba/}", "a", Overlap::Maybe),
        ("{manifest.source}/{n:int}.json", "in/{x}.json", Overlap::Maybe),
        ("{manifest.source}/{n:int}.json", "in/{x}.gz", Overlap::No),
        ("{x:/ä+/}", "ää", Overlap::Yes),
        ("{x:/[^ä]/}", "ä", Overlap::No),
    ] {
        assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a} and {b}");
        assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b} and {a}");
    }
}

#[test]
fn nasty_keys_cost_no_exponential_time() {
    let nasty = "_".repeat(500);
    let key = format!("x{nasty}");
    assert!(!pattern("{a}_{b}_{c}_{d}_{e}_{f}_{g}_{h}z").is_match(&key));
    assert!(!pattern("{a}{b}{c}{d}{e}{f}{g}{h}/").is_match(&key));
    assert!(!pattern("*_*_*_*_*_*_*_*z").is_match(&key));
    assert!(!pattern("**/**/**/**/**/z").is_match(&"a/".repeat(200)));
    assert!(pattern("{a}_{b}_{c}_{d}_{e}_{f}_{g}_{h}").is_match(&key));
}

/// A pattern as a regular expression, in the way of somebody who has not read the matcher.
fn naive(parts: &[Part]) -> regex::Regex {
    let body: String = parts
        .iter()
        .enumerate()
        .map(|(index, part)| match part {
            Part::Literal(text) => regex::escape(text),
            Part::Text => format!("(?P<n{index}>[^/]+)"),
            Part::Int => format!("(?P<n{index}>[0-9]+)"),
            Part::Star => "[^/]*".to_owned(),
            Part::Deep => "(?s:.*)".to_owned(),
        })
        .collect();
    regex::Regex::new(&format!(r"\A{body}\z")).unwrap()
}

#[derive(Debug, Clone)]
enum Part {
    Literal(&'static str),
    Text,
    Int,
    Star,
    Deep,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let literal = prop::sample::select(vec!["a", "/", "-", "1", "b/", "ä"]).prop_map(Part::Literal);
    let part = prop_oneof![3 => literal, 3 => Just(Part::Text), 2 => Just(Part::Int), 1 => Just(Part::Star)];
    let deep = prop::option::weighted(0.3, 0usize..6);
    (prop::collection::vec(part, 1..7), deep).prop_map(|(mut parts, deep)| {
        if let Some(at) = deep {
            parts.insert(at.min(parts.len()), Part::Deep);
        }
        // `***` and `**/` have meanings of their own.
        parts.dedup_by(|a, b| matches!((a, b), (Part::Star | Part::Deep, Part::Star | Part::Deep)));
        let text = text_of(&parts);
        if text.contains("**/") {
            parts.retain(|part| !matches!(part, Part::Deep))
        }
        parts.dedup_by(|a, b| matches!((a, b), (Part::Star, Part::Star)));
        if parts.is_empty() { vec![Part::Text] } else { parts }
    })
}

fn text_of(parts: &[Part]) -> String {
    let text = |(index, part): (usize, &Part)| match part {
        Part::Literal(text) => (*text).to_owned(),
        Part::Text => format!("{{n{index}}}"),
        Part::Int => format!("{{n{index}:int}}"),
        Part::Star => "*".to_owned(),
        Part::Deep => "**".to_owned(),
    };
    parts.iter().enumerate().map(text).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The matcher agrees with a regular expression, which is leftmost and greedy by definition.
    #[test]
    fn matching_agrees_with_a_regular_expression(parts in parts(), key in "[ab1ä/-]{0,12}") {
        let pattern = pattern(&text_of(&parts));
        let naive = naive(&parts);
        let found = pattern.try_match(&key);
        match naive.captures(&key) {
            None => prop_assert!(found.is_none(), "{} took {}", pattern, key),
            Some(expected) => {
                let found = found.expect("the regular expression matches");
                for name in pattern.names() {
                    prop_assert_eq!(found.text(name), expected.name(name).map(|m| m.as_str()), "{} in {}", name, pattern);
                }
            }
        }
    }

    /// Whatever matches is found below each of its prefixes, and in the shape.
    #[test]
    fn shapes_contain_what_matches(parts in parts(), other in parts(), key in "[ab1/_.-]{1,12}") {
        let (pattern, other) = (pattern(&text_of(&parts)), pattern(&text_of(&other)));
        if pattern.is_match(&key) {
            for (slash, _) in key.match_indices('/') {
                prop_assert!(pattern.may_contain(&key[..=slash]), "{} in {}", pattern, &key[..=slash]);
            }
            if other.is_match(&key) {
                prop_assert_eq!(pattern.overlaps(&other), Overlap::Yes, "{} and {}", pattern, other);
            }
        }
        let single = Shape::literal(&key);
        let expected = if pattern.is_match(&key) { Overlap::Yes } else { Overlap::No };
        prop_assert_eq!(pattern.shape().overlaps(&single), expected, "{} on {}", pattern, key);
        prop_assert_eq!(single.within(pattern.shape()), expected, "{} on {}", pattern, key);
    }

    /// No text makes the parser or the explanation panic.
    #[test]
    fn any_text_is_read_or_refused(text in "[{}:*/a%YmdHint.é-]{0,16}", key in "\\PC{0,12}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            let explained = pattern.explain(&key);
            prop_assert_eq!(explained.is_none(), pattern.is_match(&key));
        }
    }
}
