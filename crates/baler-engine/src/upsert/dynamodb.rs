//! A table of DynamoDB.
//!
//! Items are written in transactions of up to a hundred, each under the condition that what is there is older: `BatchWriteItem`
//! takes no conditions. Items of a cancelled transaction that nobody blames, that were throttled or that met another
//! transaction are sent again; those that gave way to newer ones are done; those that are refused are told one by one.
//!
//! INV-UPSERT-3 holds for each transaction, not for a whole [`Upsert::write`]: a crash may leave some of its records, which the
//! next attempt writes again. Numbers are numbers, text, dates and times are text; lists and structs are JSON. A value that is
//! null is an attribute that is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use baler_format::schema::{Schema, Type};
use baler_store::dynamodb::{DynamoDb, DynamoError, Reason};
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::values::{Typed, Values, columns};
use super::{Absent, BOOKKEEPING, Order, Refused, Target, Upsert, UpsertError, Written, check_batch, null_keys};

/// Items of a transaction, and bytes of them. Source: DynamoDB's limits (100; 4 MB, counted otherwise than here).
const ITEMS: usize = 100;
const BYTES: usize = 2 << 20;
/// Transactions at once.
const AT_ONCE: usize = 4;
/// How often a transaction is sent again of which some items were throttled.
const TRIES: u32 = 12;
/// How often a table that is being created is looked at.
const LOOKS: u32 = 40;
/// The magnitudes that a number may have. Source: DynamoDB's data types.
const MAGNITUDES: std::ops::RangeInclusive<f64> = 1e-130..=9.99e125;

/// Writes to one table of DynamoDB.
pub struct DynamoTable {
    calls: Arc<DynamoDb>,
    target: Target,
    schema: Option<Arc<Schema>>,
}

impl DynamoTable {
    /// Takes a client; sends nothing.
    pub fn new(calls: Arc<DynamoDb>, target: Target) -> Self {
        Self { calls, target, schema: None }
    }

    fn failed(&self, error: DynamoError) -> UpsertError {
        UpsertError::Database {
            database: self.calls.endpoint().to_owned(),
            is_transient: matches!(error, DynamoError::Unavailable(_)) || is_throttled(&error),
            hint: hint(&error),
            source: Box::new(error),
        }
    }

    async fn describe(&self) -> Result<Option<Value>, UpsertError> {
        match self.calls.call("DescribeTable", &json!({ "TableName": self.target.table })).await {
            Ok(mut found) => Ok(Some(found["Table"].take())),
            Err(DynamoError::Refused { kind, .. }) if kind == "ResourceNotFoundException" => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn create(&self, schema: &Schema) -> Result<(), UpsertError> {
        let roles = ["HASH", "RANGE"];
        let keys = self.target.key.iter().zip(roles);
        let keys: Vec<Value> = keys.map(|(name, role)| json!({ "AttributeName": name, "KeyType": role })).collect();
        let body = json!({
            "TableName": self.target.table,
            "KeySchema": keys,
            "AttributeDefinitions": self.key_kinds(schema)?
                .iter()
                .map(|(name, kind)| json!({ "AttributeName": name, "AttributeType": kind }))
                .collect::<Vec<_>>(),
            "BillingMode": "PAY_PER_REQUEST",
        });
        match self.calls.call("CreateTable", &body).await {
            Ok(_) => Ok(()),
            // Somebody else is creating it.
            Err(DynamoError::Refused { kind, .. }) if kind == "ResourceInUseException" => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The columns of the key and what they are to DynamoDB. Errors: it cannot be one.
    fn key_kinds(&self, schema: &Schema) -> Result<Vec<(String, &'static str)>, UpsertError> {
        if self.target.key.len() > 2 {
            return Err(UpsertError::Usage("a key of DynamoDB has one column or two".to_owned()));
        }
        let kind = |name: &String| match schema.column(name).map(|column| kind_of(&column.kind)) {
            Some(kind @ ("S" | "N")) => Ok((name.clone(), kind)),
            _ => Err(UpsertError::Usage(format!("the key `{name}` is neither text nor number, as DynamoDB wants it"))),
        };
        self.target.key.iter().map(kind).collect()
    }

    /// Errors: the table's key is another one.
    fn check_key(&self, found: &Value, schema: &Schema) -> Result<(), UpsertError> {
        let named = |what: &str, value: &str| -> BTreeMap<String, String> {
            let list = found[what].as_array().into_iter().flatten();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            list.map(|one| (text(&one["AttributeName"]), text(&one[value]))).collect()
        };
        let (keys, kinds) = (named("KeySchema", "KeyType"), named("AttributeDefinitions", "AttributeType"));
        let wanted = self.key_kinds(schema)?;
        let same = keys.len() == wanted.len() && wanted.iter().all(|(name, _)| keys.contains_key(name));
        if !same {
            let names: Vec<String> = keys.into_keys().collect();
            return Err(UpsertError::Usage(format!(
                "the table `{}` has the key {}, and no other can be upserted by",
                self.target.table,
                super::quoted(&names)
            )));
        }
        match wanted.iter().find(|(name, kind)| kinds.get(name).is_some_and(|found| found != kind)) {
            Some((name, kind)) => Err(UpsertError::Usage(format!(
                "the key `{name}` of the table `{}` is of type {}, and of the records {kind}",
                self.target.table, kinds[name]
            ))),
            None => Ok(()),
        }
    }

    /// Writes items of different keys; says which were refused, and why.
    async fn write_all(&self, mut group: Vec<Item>) -> Result<Vec<Refused>, UpsertError> {
        let mut refused = Vec::new();
        // Of a transaction that is refused as a whole the halves are tried, down to the item to blame.
        let mut waiting = Vec::new();
        let mut tries = 0;
        loop {
            if group.is_empty() {
                match waiting.pop() {
                    Some(next) => group = next,
                    None => return Ok(refused),
                }
                tries = 0;
                continue;
            }
            let items: Vec<&Value> = group.iter().map(|item| &item.update).collect();
            let (reasons, message) =
                match self.calls.call("TransactWriteItems", &json!({ "TransactItems": items })).await {
                    Ok(_) => {
                        group.clear();
                        continue;
                    }
                    Err(DynamoError::Refused { reasons, .. }) if reasons.len() == group.len() => (reasons, None),
                    Err(DynamoError::Refused { kind, message, .. }) if kind == "ValidationException" => {
                        (Vec::new(), Some(message))
                    }
                    Err(error) => return Err(self.failed(error)),
                };
            if let Some(message) = message {
                if group.len() > 1 {
                    waiting.push(group.split_off(group.len() / 2));
                } else {
                    refused.extend(group.drain(..).map(|item| Refused { row: item.row, reason: message.clone() }));
                }
                continue;
            }
            let before = group.len();
            let mut left = Vec::new();
            for (item, Reason { code, message }) in group.drain(..).zip(reasons) {
                match code.as_str() {
                    // What is there is newer.
                    "ConditionalCheckFailed" => {}
                    "ValidationError" | "ItemCollectionSizeLimitExceeded" => {
                        refused.push(Refused { row: item.row, reason: message });
                    }
                    _ => left.push(item),
                }
            }
            group = left;
            // Nothing was decided: others are in the way, or it is too much at once.
            if group.len() == before {
                tries += 1;
                if tries >= TRIES {
                    let said = "its items were throttled, or met other transactions, too often".to_owned();
                    return Err(self.failed(DynamoError::Unavailable(said)));
                }
                self.calls.pause(tries).await;
            }
        }
    }
}

fn is_throttled(error: &DynamoError) -> bool {
    let DynamoError::Refused { kind, .. } = error else { return false };
    ["Throughput", "Throttling", "RequestLimit", "InternalServer", "Conflict", "InProgress"]
        .iter()
        .any(|word| kind.contains(word))
}

/// What to do about an error. Source: DynamoDB, "Error handling".
fn hint(error: &DynamoError) -> &'static str {
    let kind = match error {
        DynamoError::Unavailable(_) => {
            return "see that region and endpoint are right and can be reached; `baler run` goes on";
        }
        DynamoError::Credentials(_) => return "give credentials as for the AWS CLI, or a `profile` in `[connections]`",
        DynamoError::Refused { kind, .. } => kind,
    };
    match () {
        () if is_throttled(error) => {
            "the table takes no more at once: raise its capacity, or its limit on demand; `baler run` goes on"
        }
        () if kind.starts_with("AccessDenied") => "`baler check --iam` prints what the flow has to be allowed",
        () if ["UnrecognizedClient", "InvalidSignature", "ExpiredToken", "MissingAuthentication"]
            .iter()
            .any(|word| kind.starts_with(word)) =>
        {
            "renew the credentials, and see that they are of the account and region of the table"
        }
        () if kind.starts_with("ResourceNotFound") => {
            "the table was deleted meanwhile: restore it, or `baler abort` the run"
        }
        () if kind.starts_with("LimitExceeded") => {
            "the account has as many tables as it may, or changes too many at once"
        }
        () => "correct what DynamoDB names, in the table or in the flow",
    }
}

/// A record as an item of a transaction.
struct Item {
    row: usize,
    /// About so many bytes.
    size: usize,
    update: Value,
}

#[async_trait]
impl Upsert for DynamoTable {
    async fn ensure_table(&mut self, schema: &Schema) -> Result<(), UpsertError> {
        self.target.check(schema)?;
        self.key_kinds(schema)?;
        self.schema = Some(Arc::new(schema.clone()));
        let mut found = self.describe().await?;
        if found.is_none() {
            if self.target.absent == Absent::Refused {
                return Err(UpsertError::NoTable(self.target.table.clone()));
            }
            self.create(schema).await?;
        }
        for look in 1..=LOOKS {
            if let Some(found) = &found {
                // While it is being updated it takes items.
                if matches!(found["TableStatus"].as_str(), Some("ACTIVE" | "UPDATING")) {
                    return self.check_key(found, schema);
                }
            }
            self.calls.pause(look.min(5)).await;
            found = self.describe().await?;
        }
        Err(self.failed(DynamoError::Unavailable(format!("the table `{}` does not become active", self.target.table))))
    }

    async fn write(&mut self, order: &Order, numbers: &[u64], records: &RecordBatch) -> Result<Written, UpsertError> {
        let Some(schema) = self.schema.clone() else {
            return Err(UpsertError::Usage("the table was not prepared".to_owned()));
        };
        check_batch(&schema, numbers, records)?;
        let mut refused = null_keys(&self.target, &schema, records);
        // Rows of each key, the newest last: one transaction takes no key twice.
        let mut rows: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        let columns = columns(&schema, records);
        let mut without_key = refused.clone().into_iter().map(|refused| refused.row).peekable();
        for (row, number) in numbers.iter().enumerate() {
            if without_key.next_if_eq(&row).is_some() {
                continue;
            }
            match update(&self.target, order, &columns, row, *number) {
                Ok((key, item)) => rows.entry(key).or_default().push(item),
                Err(reason) => refused.push(Refused { row, reason }),
            }
        }
        // The newest of each key goes first; where it is refused the one before it has its turn.
        while !rows.is_empty() {
            let newest: Vec<Item> = rows.values_mut().filter_map(Vec::pop).collect();
            let written = stream::iter(groups(newest)).map(|group| self.write_all(group)).buffer_unordered(AT_ONCE);
            let mut again = Vec::new();
            for told in written.collect::<Vec<_>>().await {
                again.extend(told?);
            }
            let keep: Vec<String> =
                again.iter().filter_map(|refused| key_of(&self.target, &columns, refused.row).ok()).collect();
            rows.retain(|key, left| !left.is_empty() && keep.contains(key));
            refused.extend(again);
        }
        refused.sort_by_key(|refused| refused.row);
        Ok(Written { taken: (numbers.len() - refused.len()) as u64, refused })
    }
}

/// Items by the hundred, or by bytes.
fn groups(items: Vec<Item>) -> Vec<Vec<Item>> {
    let (mut groups, mut bytes) = (Vec::<Vec<Item>>::new(), 0);
    for item in items {
        bytes += item.size;
        match groups.last_mut() {
            Some(group) if group.len() < ITEMS && bytes <= BYTES => group.push(item),
            _ => {
                bytes = item.size;
                groups.push(vec![item]);
            }
        }
    }
    groups
}

/// What a type is to DynamoDB.
fn kind_of(kind: &Type) -> &'static str {
    match kind {
        Type::Int64 | Type::Float64 | Type::Decimal { .. } => "N",
        Type::Bool => "BOOL",
        Type::Text | Type::Date | Type::Timestamp { .. } => "S",
        // They are JSON, and no key.
        Type::List(_) | Type::Struct(_) => "JSON",
    }
}

/// The key of a row, one text for each.
fn key_of(target: &Target, columns: &[Values<'_>], row: usize) -> Result<String, String> {
    let of_key = columns.iter().filter(|column| target.key.iter().any(|name| name == column.name));
    let values: Vec<Option<Value>> = of_key.map(|column| attribute(column, row)).collect::<Result<_, _>>()?;
    Ok(json!(values).to_string())
}

/// A row as the update of an item. Errors: why it cannot be written.
fn update(
    target: &Target,
    order: &Order,
    columns: &[Values<'_>],
    row: usize,
    number: u64,
) -> Result<(String, Item), String> {
    let key_text = key_of(target, columns, row)?;
    let [time, run, record] = BOOKKEEPING;
    // In text that compares as the times do; microseconds, as everywhere.
    let batch_time = format!("{:.6}", order.batch_time);
    let mut names: Map<String, Value> = [("#t", time), ("#r", run), ("#n", record)]
        .map(|(short, name)| (short.to_owned(), json!(name)))
        .into_iter()
        .collect();
    let mut values: Map<String, Value> = [
        (":t", json!({ "S": batch_time })),
        (":r", json!({ "S": order.run.as_str() })),
        (":n", json!({ "N": number.to_string() })),
    ]
    .map(|(short, value)| (short.to_owned(), value))
    .into_iter()
    .collect();
    let mut key = Map::new();
    let mut sets = vec!["#t = :t".to_owned(), "#r = :r".to_owned(), "#n = :n".to_owned()];
    let mut removes = Vec::new();
    for (n, column) in columns.iter().enumerate() {
        let value = attribute(column, row)?;
        if target.key.iter().any(|name| name == column.name) {
            if value.as_ref().is_some_and(|value| value["S"] == "") {
                return Err(format!("the key `{}` is empty, and DynamoDB has no such key", column.name));
            }
            key.insert(column.name.to_owned(), value.unwrap_or_default());
            continue;
        }
        names.insert(format!("#{n}"), json!(column.name));
        match value {
            Some(value) => {
                sets.push(format!("#{n} = :{n}"));
                values.insert(format!(":{n}"), value);
            }
            None => removes.push(format!("#{n}")),
        }
    }
    let mut expression = format!("SET {}", sets.join(", "));
    if !removes.is_empty() {
        expression.push_str(&format!(" REMOVE {}", removes.join(", ")));
    }
    let update = json!({ "Update": {
        "TableName": target.table,
        "Key": key,
        "UpdateExpression": expression,
        "ConditionExpression":
            "attribute_not_exists(#t) OR #t < :t OR (#t = :t AND (#r < :r OR (#r = :r AND #n <= :n)))",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    } });
    Ok((key_text, Item { row, size: update.to_string().len(), update }))
}

/// A value as an attribute; nothing for null. Errors: DynamoDB has none such.
fn attribute(column: &Values<'_>, row: usize) -> Result<Option<Value>, String> {
    if column.is_null(row) {
        return Ok(None);
    }
    let text = || {
        let mut text = String::new();
        column.push_text(&mut text, row).map(|()| text)
    };
    Ok(Some(match &column.typed {
        Typed::Int(array) => json!({ "N": array.value(row).to_string() }),
        Typed::Float(array) => {
            let value = array.value(row);
            if value != 0.0 && !MAGNITUDES.contains(&value.abs()) {
                return Err(column.fault(&format!("DynamoDB has no number {value:?}")));
            }
            json!({ "N": format!("{value:?}") })
        }
        Typed::Bool(array) => json!({ "BOOL": array.value(row) }),
        Typed::Decimal(..) => json!({ "N": text()? }),
        Typed::Text(_) | Typed::Date(_) | Typed::Timestamp(..) | Typed::Nested => json!({ "S": text()? }),
    }))
}
