//! Sessions: lost, refused, waiting.

use std::time::{Duration, Instant};

use baler_model::Kind;

use super::*;

fn url(server: &Postgres, more: &str) -> PostgresUrl {
    PostgresUrl::try_new("$DB", &format!("{} {more}", server.url)).unwrap()
}

fn words(error: &UpsertError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn one(number: u64, price: i64) -> Batch {
    Batch { time: 1, run: "a-run", records: vec![(number, 7, price)] }
}

/// Writes a batch, a second time where the first failed as something may that passes.
async fn write_twice(table: &mut PostgresTable, schema: &Schema, batch: &Batch) {
    if let Err(error) = write(table, schema, batch).await {
        assert_eq!(error.kind(), Kind::Transient, "{}", words(&error));
        assert!(error.hint().unwrap().contains("baler run"), "{error:?}");
        write(table, schema, batch).await.unwrap();
    }
}

#[test]
fn a_session_that_was_ended_is_replaced() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let (sql, schema) = (connect(&server).await, schema());
        let mut table = PostgresTable::open(url(&server, ""), target("items", &["item"])).await.unwrap();
        table.ensure_table(&schema).await.unwrap();
        for round in 0..4 {
            write_twice(&mut table, &schema, &one(round, 10 + round as i64)).await;
            assert_eq!(rows(&sql, "items").await[&7].0, 10 + round as i64);
            let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                       WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
            let ended = sql.query(end, &[]).await.unwrap();
            assert_eq!(ended.iter().map(|row| row.get(0)).collect::<Vec<bool>>(), [true], "round {round}");
        }
    });
}

#[test]
fn a_lock_that_is_held_too_long_is_told_and_tried_again() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let (sql, schema) = (connect(&server).await, schema());
        let mut table =
            PostgresTable::open(url(&server, "options='-c lock_timeout=200ms'"), target("items", &["item"]))
                .await
                .unwrap();
        table.ensure_table(&schema).await.unwrap();
        sql.batch_execute("BEGIN; LOCK TABLE items").await.unwrap();
        let error = write(&mut table, &schema, &one(1, 10)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Transient, "{}", words(&error));
        assert!(words(&error).contains("lock timeout"), "{}", words(&error));
        assert!(error.hint().unwrap().contains("another session holds the table"), "{error:?}");
        sql.batch_execute("ROLLBACK").await.unwrap();
        write(&mut table, &schema, &one(1, 10)).await.unwrap();
        assert_eq!(rows(&sql, "items").await[&7].0, 10);
    });
}

#[test]
fn a_lock_is_waited_for_a_minute_unless_the_url_says_otherwise() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let (sql, schema) = (connect(&server).await, schema());
        let create = "CREATE TABLE items (item bigint PRIMARY KEY, price bigint, note text, _baler_batch_time timestamptz, \
                      _baler_run text, _baler_record bigint);
                      CREATE FUNCTION settings() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := \
                      current_setting('lock_timeout') || ' ' || current_setting('TimeZone'); RETURN NEW; END $$;
                      CREATE TRIGGER settings BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION settings()";
        sql.batch_execute(create).await.unwrap();
        for (number, options, expected) in [(1, "", "1min UTC"), (2, "options='-c lock_timeout=5s'", "5s UTC")] {
            let mut table = PostgresTable::open(url(&server, options), target("items", &["item"])).await.unwrap();
            table.ensure_table(&schema).await.unwrap();
            write(&mut table, &schema, &one(number, 1)).await.unwrap();
            assert_eq!(rows(&sql, "items").await[&7].1.as_deref(), Some(expected));
        }
    });
}

#[test]
fn a_server_that_lets_nobody_in_is_told_from_one_that_is_not_there() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let sql = connect(&server).await;
        sql.batch_execute(
            "CREATE USER locked PASSWORD 'right'; CREATE USER many CONNECTION LIMIT 0;
             COPY (SELECT 'host all locked 127.0.0.1/32 scram-sha-256') \
             TO PROGRAM 'cat - pg_hba.conf > pg_hba.new && mv pg_hba.new pg_hba.conf'",
        )
        .await
        .unwrap();
        sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let open = async |text: &str| {
            PostgresTable::open(PostgresUrl::try_new("$DB", text).unwrap(), target("items", &["item"])).await.err()
        };
        let with = |more: &str| format!("{} {more}", server.url);
        // The new rules are read some time after.
        let (wrong, right) = (with("user=locked password=wrong"), with("user=locked password=right"));
        let began = Instant::now();
        while open(&wrong).await.is_none() {
            assert!(began.elapsed() < Duration::from_secs(20), "the rules for logging in are not read");
        }
        if let Some(error) = open(&right).await {
            panic!("{}", words(&error));
        }
        let absent = "host=127.0.0.1 port=1 user=postgres dbname=postgres".to_owned();
        for (text, kind, what, remedy) in [
            (wrong, Kind::Invalid, "password authentication failed", "user and password in the URL"),
            (with("user=locked"), Kind::Invalid, "password missing", "correct the URL"),
            (with("dbname=nowhere"), Kind::Invalid, "database \"nowhere\" does not exist", "CREATE DATABASE"),
            (with("user=nobody"), Kind::Invalid, "role \"nobody\" does not exist", "user and password in the URL"),
            (with("user=many"), Kind::Transient, "too many connections", "max_connections"),
            (absent, Kind::Transient, "error connecting to server", "the server runs"),
        ] {
            let error = open(&text).await.unwrap();
            assert_eq!(error.kind(), kind, "{}", words(&error));
            assert!(words(&error).starts_with("the database `$DB` cannot be opened: "), "{}", words(&error));
            assert!(words(&error).contains(what), "{}", words(&error));
            assert!(error.hint().unwrap().contains(remedy), "{:?}", error.hint());
        }
    });
}

#[test]
fn what_a_user_may_not_do_is_told_with_a_remedy() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let (sql, schema) = (connect(&server).await, schema());
        sql.batch_execute("CREATE USER guest").await.unwrap();
        let mut owner = PostgresTable::open(url(&server, ""), target("items", &["item"])).await.unwrap();
        owner.ensure_table(&schema).await.unwrap();
        let mut table = PostgresTable::open(url(&server, "user=guest"), target("items", &["item"])).await.unwrap();
        table.ensure_table(&schema).await.unwrap();
        let error = write(&mut table, &schema, &one(1, 10)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{}", words(&error));
        assert!(words(&error).contains("permission denied for table items"), "{}", words(&error));
        assert!(error.hint().unwrap().contains("GRANT"), "{error:?}");
        sql.batch_execute("GRANT SELECT, INSERT, UPDATE ON items TO guest").await.unwrap();
        write(&mut table, &schema, &one(1, 10)).await.unwrap();
    });
}
