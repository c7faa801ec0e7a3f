//! TLS with a server whose certificate a test makes.
//!
//! `openssl` makes the certificates. Which authorities are trusted is read from the environment: each session is opened by a
//! process of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

const URL: &str = "BALER_TEST_POSTGRES_URL";
const ANSWER: &str = "BALER_TEST_POSTGRES_ANSWER";

/// Runs `openssl`; false where there is none.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn openssl(dir: &Path, arguments: &str) -> bool {
    let Ok(made) = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output() else {
        assert!(std::env::var_os("CI").is_none(), "the program `openssl` is missing");
        eprintln!("skipped: the program `openssl` is missing");
        return false;
    };
    assert!(made.status.success(), "`openssl {arguments}`: {}", String::from_utf8_lossy(&made.stderr));
    true
}

/// Makes two authorities and a certificate of the first for 127.0.0.1.
fn certificates() -> Option<TempDir> {
    let dir = TempDir::new().unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ours", "other"] {
        let subject = format!("-keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}");
        if !openssl(dir.path(), &format!("req -x509 {key} {subject}")) {
            return None;
        }
    }
    std::fs::write(dir.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(dir.path(), &format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
    openssl(
        dir.path(),
        "x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
    Some(dir)
}

/// Puts a file into the server's directory, which only it may read.
async fn give(sql: &Client, dir: &Path, name: &str) {
    let text = std::fs::read_to_string(dir.join(name)).unwrap();
    let row = sql.query_one("SELECT translate(encode(convert_to($1, 'UTF8'), 'base64'), E'\\n', '')", &[&text]).await;
    let encoded: String = row.unwrap().get(0);
    let copy = format!("COPY (SELECT '{encoded}') TO PROGRAM 'umask 077; base64 -d > {name}'");
    sql.batch_execute(&copy).await.unwrap();
}

/// Opens a table in a process that trusts these authorities; yields what it says.
fn opened(url: &str, trusted: &Path) -> String {
    let dir = TempDir::new().unwrap();
    let answer = dir.path().join("answer");
    let (_crate, module) = module_path!().split_once("::").unwrap();
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", &format!("{module}::opens_what_the_environment_names")])
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR")
        .env(URL, url)
        .env(ANSWER, &answer)
        .output()
        .unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    std::fs::read_to_string(answer).unwrap()
}

#[test]
#[ignore = "it is the process that other tests here start"]
fn opens_what_the_environment_names() {
    let (Ok(url), Ok(answer)) = (std::env::var(URL), std::env::var(ANSWER)) else { return };
    let opened = run(async {
        let mut table = PostgresTable::open(PostgresUrl::try_new("$DB", &url)?, target("items", &["item"])).await?;
        table.ensure_table(&schema()).await
    });
    let said = match opened {
        Ok(()) => "open".to_owned(),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!("{cause}: {:?}", cause.source()));
            format!("{:?}\n{error}: {cause:?}\n{}", error.kind(), error.hint().unwrap())
        }
    };
    std::fs::write(answer, said).unwrap();
}

#[test]
fn a_certificate_is_verified_wherever_tls_is_used() {
    let Some(server) = Postgres::start() else { return };
    let Some(dir) = certificates() else { return };
    run(async {
        let sql = connect(&server).await;
        give(&sql, dir.path(), "server.key").await;
        give(&sql, dir.path(), "server.crt").await;
        sql.batch_execute(
            "CREATE USER veiled SUPERUSER; COPY (SELECT 'hostnossl all veiled 127.0.0.1/32 reject') \
             TO PROGRAM 'cat - pg_hba.conf > pg_hba.new && mv pg_hba.new pg_hba.conf'",
        )
        .await
        .unwrap();
        sql.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let (ours, other) = (dir.path().join("ours.pem"), dir.path().join("other.pem"));
        // The server takes this user with TLS only, from some time after.
        let veiled = server.url.replace("user=postgres", "user=veiled");
        let required = format!("{veiled} sslmode=require");
        let began = Instant::now();
        while opened(&required, &ours) != "open" {
            assert!(began.elapsed() < Duration::from_secs(20), "{}", opened(&required, &ours));
        }
        assert_eq!(opened(&veiled, &ours), "open", "where the server has TLS it is used");
        for url in [&required, &veiled] {
            let said = opened(url, &other);
            assert!(said.starts_with("Invalid\nthe database `$DB` cannot be opened: "), "{said}");
            assert!(said.contains("UnknownIssuer"), "{said}");
            assert!(said.contains("SSL_CERT_FILE") && said.contains("sslmode=disable"), "{said}");
        }
        let renamed = required.replace("host=127.0.0.1", "host=other.example hostaddr=127.0.0.1");
        let said = opened(&renamed, &ours);
        assert!(said.starts_with("Invalid") && said.contains("NotValidForName"), "{said}");
        let said = opened(&format!("{veiled} sslmode=disable"), &ours);
        assert!(said.starts_with("Invalid") && said.contains("sslmode=require"), "{said}");
        assert_eq!(opened(&format!("{} sslmode=disable", server.url), &other), "open");
    });
}

#[test]
fn a_server_without_tls_is_refused_where_the_url_requires_it() {
    let Some(server) = Postgres::start() else { return };
    run(async {
        let url = |more: &str| PostgresUrl::try_new("$DB", &format!("{} {more}", server.url)).unwrap();
        PostgresTable::open(url("sslmode=prefer"), target("items", &["item"])).await.map(drop).unwrap();
        let error = PostgresTable::open(url("sslmode=require"), target("items", &["item"])).await.err().unwrap();
        assert_eq!(error.kind(), baler_model::Kind::Invalid, "{error:?}");
        assert!(format!("{error:?}").contains("server does not support TLS"), "{error:?}");
        assert!(error.hint().unwrap().contains("`sslmode=require` wants a server that has TLS"), "{error:?}");
    });
}
