//! Makes a small data set as S3DB keeps it: prices at nodes of a grid, and forecasts of its load.
//!
//! Usage: `energy DIRECTORY` writes `DIRECTORY/gz/grid/{price,load}/METADATA.json` and beside each
//! `year=2023/1703894400.csv.gz` and so on: days around two ends of months, one of them of a year, named by their first
//! second. The same bytes each time.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::{Compression, GzBuilder};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// First seconds of days, with their years: 2023-12-30 to 2024-01-02, then 2024-01-31 and 2024-02-01.
const DAYS: [(i64, &str); 6] = [
    (1_703_894_400, "2023"),
    (1_703_980_800, "2023"),
    (1_704_067_200, "2024"),
    (1_704_153_600, "2024"),
    (1_706_659_200, "2024"),
    (1_706_745_600, "2024"),
];
const NODES: [&str; 5] = ["AEC", "AEC.ALTW", "WR.THAYERLD", "YAD", "ZÜRI.HUB"];
const TAGS: [&str; 2] = ["real_time_dart", "real_time_http_final"];
const ZONES: [&str; 4] = ["north", "south", "east", "west"];
/// As they stand in the file: what needs quotes has them.
const NOTES: [&str; 5] =
    ["as scheduled", "\"storm, late\"", "\"\"\"hold\"\" by operator\"", "\"two\nlines\"", "прогноз"];

const PRICE: &str = r#"{
  "type_map": {"release_date": "int", "target_start": "int", "target_end": "int", "target_bounds": "int", "node_name": "str", "tag": "str", "lmp": "float", "mlc": "float", "mcc": "float"},
  "superkey": ["release_date", "target_start", "target_end", "node_name", "tag"],
  "value_key": ["lmp", "mlc", "mcc"]
}
"#;
const LOAD: &str = r#"{
  "type_map": {"release_date": "int", "target_start": "int", "target_end": "int", "zone": "str", "megawatts": "int", "factor": "float", "revised": "bool", "note": "str"},
  "superkey": ["release_date", "target_start", "target_end", "zone"],
  "value_key": ["megawatts", "factor", "revised", "note"]
}
"#;

/// A small generator of numbers that look like chance.
/// Source: Marsaglia, Xorshift RNGs, 2003.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Hundredths between `-range` and `range`, as they stand in the file.
    fn hundredths(&mut self, range: u64) -> String {
        let value = self.below(2 * range + 1);
        let sign = if value < range { "-" } else { "" };
        let distance = value.abs_diff(range);
        format!("{sign}{}.{:02}", distance / 100, distance % 100)
    }
}

fn prices(day: i64, chance: &mut Chance) -> String {
    let mut csv = String::from("release_date,target_start,target_end,target_bounds,node_name,tag,lmp,mlc,mcc\n");
    for start in (day..day + DAY).step_by(HOUR as usize) {
        let release = start + 4_000 + chance.below(200) as i64;
        for tag in TAGS {
            for node in NODES {
                let [lmp, mlc] = [chance.hundredths(9_000), chance.hundredths(300)];
                let mcc = if chance.below(20) == 0 { String::new() } else { chance.hundredths(500) };
                let _ = writeln!(csv, "{release},{start},{},1,{node},{tag},{lmp},{mlc},{mcc}", start + HOUR);
            }
        }
    }
    csv
}

fn loads(day: i64, chance: &mut Chance) -> String {
    let mut csv = String::from("release_date,target_start,target_end,zone,megawatts,factor,revised,note\n");
    for start in (day..day + DAY).step_by(HOUR as usize) {
        for zone in ZONES {
            let megawatts = if chance.below(15) == 0 { String::new() } else { chance.below(90_000).to_string() };
            let factor = format!("0.{:06}", chance.below(1_000_000));
            let revised = ["true", "false", ""][chance.below(3) as usize];
            let note = NOTES[chance.below(5) as usize];
            let _ =
                writeln!(csv, "{},{start},{},{zone},{megawatts},{factor},{revised},{note}", day - DAY, start + HOUR);
        }
    }
    csv
}

fn main() -> Result<(), Box<dyn Error>> {
    let target = std::env::args().nth(1).ok_or("usage: energy DIRECTORY")?;
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut records = 0;
    for (dataset, metadata) in [("price", PRICE), ("load", LOAD)] {
        let root = Path::new(&target).join("gz/grid").join(dataset);
        fs::create_dir_all(&root)?;
        fs::write(root.join("METADATA.json"), metadata)?;
        for (day, year) in DAYS {
            let csv = if dataset == "price" { prices(day, &mut chance) } else { loads(day, &mut chance) };
            records += 24 * if dataset == "price" { NODES.len() * TAGS.len() } else { ZONES.len() };
            let folder = root.join(format!("year={year}"));
            fs::create_dir_all(&folder)?;
            let file = fs::File::create(folder.join(format!("{day}.csv.gz")))?;
            let mut packed = GzBuilder::new().mtime(0).write(file, Compression::default());
            packed.write_all(csv.as_bytes())?;
            packed.finish()?;
        }
    }
    println!("wrote {} day files with {records} records under {target}/gz", 2 * DAYS.len());
    Ok(())
}
