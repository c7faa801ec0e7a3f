//! The table that takes records, opened: one session, which writes one window after the other.

use baler_format::decode::DecodeOptions;
use baler_format::schema::Schema;
use baler_model::Kind;
use baler_model::config::Connection;
use baler_model::ledger::{Failure, UpsertOptions};
use tokio::sync::Mutex;

use super::records::{Rows, Window};
use crate::error::{TaskError, with_causes};
use crate::flow::Flow;
use crate::upsert::{Absent, Order, Target, Upsert, UpsertError};

pub(crate) struct Table {
    table: Mutex<Box<dyn Upsert>>,
    schema: Schema,
    decoding: DecodeOptions,
}

impl Table {
    /// Opens the database and sees to it that the table is there.
    pub(crate) async fn open(
        flow: &Flow,
        options: &UpsertOptions,
        schema: Schema,
        decoding: DecodeOptions,
    ) -> Result<Self, TaskError> {
        let invalid = |error: String, hint: &str| TaskError {
            kind: Kind::Invalid,
            failure: Failure { error, hint: Some(hint.to_owned()) },
        };
        let Some(connection) = flow.all.connections.get(&options.into) else {
            return Err(invalid(
                format!("there is no connection `{}`", options.into),
                "put it back into `[connections]`",
            ));
        };
        let database = find(flow, connection)?;
        if database.address != options.database {
            let error = format!(
                "the run was planned for `{}`, the connection `{}` is now `{}`",
                options.database, options.into, database.address
            );
            return Err(invalid(error, "restore the connection until the run has ended"));
        }
        let mut table = database.how.open(target(options)).await?;
        table.ensure_table(&schema).await.map_err(|error| TaskError { kind: of_table(&error), ..failed(&error) })?;
        Ok(Self { table: Mutex::new(table), schema, decoding })
    }

    /// The records of a window that are still in, as rows of the table; those that do not fit fail.
    pub(crate) fn rows(&self, window: &mut Window) -> Result<Vec<Rows>, TaskError> {
        window.rows(&self.schema, &self.decoding)
    }

    /// Writes rows of a window; those that the table refuses fail.
    pub(crate) async fn take(
        &self,
        order: &Order,
        before: u64,
        window: &mut Window,
        rows: &[Rows],
    ) -> Result<(), TaskError> {
        for Rows { batch, items } in rows {
            let numbers: Vec<u64> = items.iter().map(|item| before + window.items[*item].index).collect();
            let written = self.table.lock().await.write(order, &numbers, batch).await;
            for refused in written.map_err(|error| failed(&error))?.refused {
                window.fail(items[refused.row], refused.reason);
            }
        }
        Ok(())
    }
}

/// Checks an upsert against the columns of the records. Errors: why it cannot be, for people.
pub(crate) fn check(options: &UpsertOptions, schema: &Schema) -> Result<(), Failure> {
    let target = target(options);
    target.check(schema).map_err(|error| Failure {
        error: error.to_string(),
        hint: Some(
            "let `upsert.key` name columns of the records, or declare them: `schema = { columns = { … } }`".to_owned(),
        ),
    })
}

fn target(options: &UpsertOptions) -> Target {
    Target {
        table: options.table.clone(),
        key: options.key.clone(),
        absent: if options.create { Absent::Created } else { Absent::Refused },
    }
}

/// What is wrong with a table, as the plan has it, gives batches up: a later plan may ask for another one.
fn of_table(error: &UpsertError) -> Kind {
    match error {
        UpsertError::NoTable(_)
        | UpsertError::NoColumns { .. }
        | UpsertError::NoKey { .. }
        | UpsertError::Types { .. }
        | UpsertError::Usage(_) => Kind::Data,
        UpsertError::Unopened { .. } | UpsertError::Database { .. } => error.kind(),
    }
}

fn failed(error: &UpsertError) -> TaskError {
    TaskError { kind: error.kind(), failure: Failure { error: with_causes(error), hint: hint(error) } }
}

fn hint(error: &UpsertError) -> Option<String> {
    match error {
        UpsertError::NoTable(_) => {
            Some("create it, or say `create = true` to have it created from the records' columns".to_owned())
        }
        UpsertError::NoColumns { .. }
        | UpsertError::NoKey { .. }
        | UpsertError::Types { .. }
        | UpsertError::Usage(_)
        | UpsertError::Unopened { .. }
        | UpsertError::Database { .. } => error.hint(),
    }
}

/// Where a connection leads, without secrets, as a plan keeps it. Nothing is connected.
///
/// Errors: a secret that is not set, or is none; a database that this build has not.
pub(crate) fn address(flow: &Flow, connection: &Connection) -> Result<String, TaskError> {
    find(flow, connection).map(|database| database.address)
}

/// A database whose secrets and settings are known.
struct Database {
    /// Where it is, without secrets.
    address: String,
    how: How,
}

/// How it is opened.
enum How {
    #[cfg(feature = "sqlite")]
    Sqlite(String),
    #[cfg(feature = "postgres")]
    Postgres(Box<crate::upsert::PostgresUrl>),
    #[cfg(feature = "dynamodb")]
    DynamoDb(std::sync::Arc<baler_store::dynamodb::DynamoDb>),
}

fn find(flow: &Flow, connection: &Connection) -> Result<Database, TaskError> {
    match connection {
        Connection::Sqlite(path) => sqlite(connection, path),
        Connection::Postgres { secret } => postgres(flow, secret),
        Connection::DynamoDb { region, endpoint, profile } => {
            dynamodb(flow, [region, endpoint, profile].map(Option::as_deref))
        }
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(connection: &Connection, path: &str) -> Result<Database, TaskError> {
    Ok(Database { address: connection.address(), how: How::Sqlite(path.to_owned()) })
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_connection: &Connection, path: &str) -> Result<Database, TaskError> {
    Err(no_such_database("SQLite", path))
}

#[cfg(feature = "postgres")]
fn postgres(flow: &Flow, secret: &str) -> Result<Database, TaskError> {
    let url = flow.env.secrets.secret(secret).ok_or_else(|| TaskError {
        kind: Kind::Invalid,
        failure: Failure {
            error: format!("`{secret}` is not set"),
            hint: Some("it holds the URL of the database: `postgres://user:password@host/database`".to_owned()),
        },
    })?;
    let url = crate::upsert::PostgresUrl::try_new(format!("${secret}"), &url).map_err(|error| failed(&error))?;
    Ok(Database { address: url.address(), how: How::Postgres(Box::new(url)) })
}

#[cfg(not(feature = "postgres"))]
fn postgres(_flow: &Flow, secret: &str) -> Result<Database, TaskError> {
    Err(no_such_database("PostgreSQL", secret))
}

#[cfg(feature = "dynamodb")]
fn dynamodb(flow: &Flow, [region, endpoint, profile]: [Option<&str>; 3]) -> Result<Database, TaskError> {
    let cannot = |error: String| TaskError {
        kind: Kind::Invalid,
        failure: Failure {
            error: format!("tables of DynamoDB cannot be reached: {error}"),
            hint: Some("give region and credentials as for the AWS CLI, or in `[connections]`".to_owned()),
        },
    };
    let env = &flow.env;
    let asked = crate::env::DynamoAsked { region, endpoint, profile };
    let account = env.secrets.dynamodb(asked).map_err(cannot)?;
    let address = match account.options.endpoint.as_deref().map(without_user) {
        Some(endpoint) => format!("dynamodb:{} at {endpoint}", account.options.region),
        None => format!("dynamodb:{}", account.options.region),
    };
    let calls = baler_store::dynamodb::DynamoDb::new(
        account.options,
        account.credentials,
        std::sync::Arc::clone(&env.clock),
        std::sync::Arc::clone(&env.ids),
    );
    Ok(Database { address, how: How::DynamoDb(std::sync::Arc::new(calls.map_err(cannot)?)) })
}

#[cfg(not(feature = "dynamodb"))]
fn dynamodb(_flow: &Flow, [region, endpoint, _profile]: [Option<&str>; 3]) -> Result<Database, TaskError> {
    Err(no_such_database("DynamoDB", endpoint.or(region).unwrap_or_default()))
}

#[cfg(not(all(feature = "sqlite", feature = "postgres", feature = "dynamodb")))]
fn no_such_database(kind: &str, name: &str) -> TaskError {
    TaskError {
        kind: Kind::Invalid,
        failure: Failure {
            error: format!("this build has no {kind} (`{name}`)"),
            hint: Some("build with the default features".to_owned()),
        },
    }
}

impl How {
    /// Opens it. Errors: one that may pass, or what to put right.
    async fn open(self, target: Target) -> Result<Box<dyn Upsert>, TaskError> {
        let opened: Result<Box<dyn Upsert>, UpsertError> = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                // Others may hold the file, and it waits for them.
                let open = move || crate::upsert::SqliteTable::open(std::path::Path::new(&path), target);
                let opened = tokio::task::spawn_blocking(open).await.map_err(|error| TaskError {
                    kind: Kind::Internal,
                    failure: Failure { error: with_causes(&error), hint: None },
                })?;
                opened.map(|table| Box::new(table) as _)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                crate::upsert::PostgresTable::open(*url, target).await.map(|table| Box::new(table) as _)
            }
            #[cfg(feature = "dynamodb")]
            Self::DynamoDb(calls) => Ok(Box::new(crate::upsert::DynamoTable::new(calls, target))),
        };
        opened.map_err(|error| failed(&error))
    }
}

/// A URL without the user and password that one may write into it.
#[cfg(feature = "dynamodb")]
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let server = server.rsplit_once('@').map_or(server, |(_user, server)| server);
    format!("{scheme}://{server}{}", path.trim_end_matches('/'))
}

#[cfg(all(test, feature = "dynamodb"))]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_kept_without_user_and_password() {
        for (url, kept) in [
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
            ("https://me:p@ss@db.example/x", "https://db.example/x"),
            ("db.example", "https://db.example"),
        ] {
            assert_eq!(without_user(url), kept, "{url}");
        }
    }
}
