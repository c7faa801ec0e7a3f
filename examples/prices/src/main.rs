//! Makes batches of items and prices: `{"records":[{"itemNo":"item#1","price":5}, …]}`.
//!
//! Usage: `prices DIRECTORY [RECORDS]` writes `DIRECTORY/inbox/2026-01-0{1,2,3}.json`. Every thousandth record is one that no
//! price list should have; the second and third batch have prices of items of the first.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().ok_or("usage: prices DIRECTORY [RECORDS]")?;
    let records: u64 = arguments.next().map_or(Ok(10_000), |records| records.parse())?;
    let inbox = Path::new(&target).join("inbox");
    fs::create_dir_all(&inbox)?;
    for day in 1..=3 {
        let path = inbox.join(format!("2026-01-0{day}.json"));
        let mut out = BufWriter::new(File::create(&path)?);
        write!(out, "{{\"records\":[")?;
        // The first batch has every item, the others each second and each third one.
        for item in (0..records).filter(|item| item % day == 0) {
            let comma = if item == 0 { "" } else { "," };
            match item % 1000 {
                999 => write!(out, "{comma}\n{{\"itemNo\":\"item#{item}\",\"price\":-1}}")?,
                _ => {
                    let (euros, cents) = (item * 7919 % 500 + day, item * 104_729 % 100);
                    write!(out, "{comma}\n{{\"itemNo\":\"item#{item}\",\"price\":{euros}.{cents:02}}}")?;
                }
            }
        }
        writeln!(out, "\n]}}")?;
        out.flush()?;
    }
    println!("three batches, {records} items: {}", inbox.display());
    Ok(())
}
