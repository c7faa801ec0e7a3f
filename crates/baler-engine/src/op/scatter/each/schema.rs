//! Records held against a JSON Schema. Nothing is fetched: what it refers to stands within it.

use baler_model::ledger::Failure;
use jsonschema::Validator;
use serde_json::Value;

use super::super::records::Window;

/// So many of a record's faults are told.
const FAULTS: usize = 3;

pub(crate) struct Schema {
    validator: Validator,
}

impl Schema {
    pub(super) fn new(path: &str, text: &str) -> Result<Self, Failure> {
        let fault = |error: String| Failure {
            error: format!("`{path}` is no JSON Schema: {error}"),
            hint: Some("correct it; `$ref` reaches within the file only".to_owned()),
        };
        let schema: Value = serde_json::from_str(text).map_err(|error| fault(error.to_string()))?;
        let validator = jsonschema::validator_for(&schema).map_err(|error| fault(error.to_string()))?;
        Ok(Self { validator })
    }

    pub(super) fn take(&self, window: &mut Window) {
        for item in 0..window.items.len() {
            let Some(record) = window.items[item].text(&window.text) else { continue };
            let fault = match serde_json::from_slice::<Value>(record) {
                Ok(record) if self.validator.is_valid(&record) => continue,
                Ok(record) => self.faults(&record),
                Err(error) => format!("not JSON: {error}"),
            };
            window.fail(item, fault);
        }
    }

    /// What is wrong with a record, without its values: equal faults are counted as one, and values may be secret.
    fn faults(&self, record: &Value) -> String {
        let faults = self.validator.iter_errors(record).take(FAULTS).map(|fault| {
            let place = fault.instance_path().to_string();
            let fault = fault.masked();
            if place.is_empty() { fault.to_string() } else { format!("{place}: {fault}") }
        });
        faults.collect::<Vec<String>>().join("; ")
    }
}
