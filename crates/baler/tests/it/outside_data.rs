//! `combine` on real csv.gz day files (an S3DB data set), where `BALER_TEST_DATA` says that they lie.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use crate::bench::Bench;

#[test]
fn real_csv_gz_days_become_one_object_whose_members_all_decode() {
    let Ok(data) = std::env::var("BALER_TEST_DATA") else {
        println!("skipped: BALER_TEST_DATA is unset");
        return;
    };
    let days = PathBuf::from(data).join("s3db/miso/realtime_price/year=2020");
    let mut names: Vec<PathBuf> = fs::read_dir(&days)
        .unwrap_or_else(|e| panic!("BALER_TEST_DATA is set, and {} cannot be read: {e}", days.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    assert!(names.len() > 1, "{names:?}");
    let bench = Bench::new(
        r#"version = 1
[flows.year]
do = "combine"
from = "./days/{day:epoch}.csv.gz"
order_by = ["day"]
to = "./year/{day.first:%Y-%m-%d}_{day.last:%Y-%m-%d}_{count}.csv.gz"
check = "decode"
"#,
    );
    let mut expected = Vec::new();
    for name in &names {
        let bytes = fs::read(name).unwrap();
        flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut expected).unwrap();
        bench.write(&format!("days/{}", name.file_name().unwrap().display()), bytes);
    }
    let done = bench.baler(&["--format", "json", "run"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let outputs = bench.files("year");
    assert_eq!(outputs, [format!("2020-01-01_2020-01-05_{}.csv.gz", names.len())]);
    let joined = fs::read(bench.path(&format!("year/{}", outputs[0]))).unwrap();
    let mut decoded = Vec::new();
    flate2::read::MultiGzDecoder::new(&*joined).read_to_end(&mut decoded).unwrap();
    assert!(decoded == expected, "{} bytes decoded, {} expected", decoded.len(), expected.len());
}
