//! How far civil times are from UTC in the zone of a column.

use jiff::Timestamp;

use super::instant::Zone;

/// The offsets of one zone.
#[derive(Debug, Clone)]
pub struct Offsets(Zone);

impl Offsets {
    /// Finds a zone as schemas name it. Errors: it is not known on this machine.
    pub fn find(zone: &str) -> Result<Self, String> {
        Zone::find(Some(zone)).map(Self)
    }

    /// Returns the offset, in seconds east of Greenwich, that clocks of the zone have at an instant.
    ///
    /// Units: `second` since 1970. Errors: an instant beyond the years −9999 to 9999.
    pub fn at(&self, second: i64) -> Result<i32, String> {
        match &self.0 {
            Zone::None => Ok(0),
            Zone::Fixed(offset) => Ok(*offset),
            Zone::Named(zone) => {
                let at = Timestamp::from_second(second);
                let at = at.map_err(|_| format!("the time {second} is beyond the years that zones are known for"))?;
                Ok(zone.to_offset(at).seconds())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_follow_the_rules_of_their_zone() {
        let berlin = Offsets::find("Europe/Berlin").unwrap();
        assert_eq!((berlin.at(1_577_836_800), berlin.at(1_593_561_600)), (Ok(3_600), Ok(7_200)));
        assert_eq!(Offsets::find("UTC").unwrap().at(i64::MAX), Ok(0));
        assert_eq!(Offsets::find("-01:30").unwrap().at(0), Ok(-5_400));
        assert!(berlin.at(i64::MAX).is_err());
        assert!(Offsets::find("Europe/Atlantis").is_err());
    }
}
