//! Sessions with a server, as a URL asks for them.
//!
//! `sslmode` in the URL decides over TLS: `disable` never has it, `require` always. `prefer`, which goes without saying, has it
//! where the server has; it is no protection from somebody on the way, who may say that the server has none. With TLS the
//! certificate is always verified, the host's name too: stricter than libpq, whose `require` takes any. What cannot be verified
//! is refused with `prefer` as well: in plain text the password would go to whoever answers. Trusted are the authorities of the
//! system, or those of `SSL_CERT_FILE`. Sockets of Unix have no TLS, whatever the URL says; neither have builds without the
//! feature `tls`, which refuse `require`.
//!
//! No wait is without end, unless the URL asks for it: not for a connection, nor for a peer that is gone, nor for a lock. How
//! long a statement may take is left to the server.

use std::io;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Error, NoTls};

use super::UpsertError;
use super::errors::unopened;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the names of a server may take to be resolved, and a server that is connected to let a session in.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a peer may be silent that has something to confirm.
const SILENCE: Duration = Duration::from_secs(120);
/// When a quiet connection is asked whether it stands, how often, and how many times.
const IDLE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(10);
const RETRIES: u32 = 6;
/// When the library would ask first. Source: `tokio_postgres::Config::keepalives_idle`.
const LIBRARY_IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// Options that libpq knows and this does not; others are not told, since they may be a piece of a password.
const OF_LIBPQ: [&str; 15] = [
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "krbsrvname",
    "passfile",
    "replication",
    "require_auth",
    "service",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
];

const OF_URL: &str = "it is `postgres://user:password@host:5432/database`, with `%40` for `@` in a password; `sslmode` is \
                      `disable`, `prefer` or `require`, and `SSL_CERT_FILE` names the authorities that are trusted";

/// Makes a session what writing relies on: times without a zone are UTC, times and numbers as text are whole, and a lock is not
/// waited for without end. Source: PostgreSQL, "Client Connection Defaults".
pub(super) const SETTINGS: &str = "SET TIME ZONE 'UTC'; SET datestyle = 'ISO, YMD'; SET extra_float_digits = 3; \
     SELECT set_config('lock_timeout', '60s', false) WHERE current_setting('lock_timeout') = '0'";

/// Where a database is and how it is spoken to; its text is a secret.
#[derive(Clone)]
pub struct PostgresUrl {
    name: String,
    config: Config,
    database: String,
}

impl PostgresUrl {
    /// Takes a URL, or `key=value` pairs as libpq has them; `name` is what people see of it.
    ///
    /// Errors: it is none, or names no server or no database.
    pub fn try_new(name: impl Into<String>, url: &str) -> Result<Self, UpsertError> {
        let name = name.into();
        let refused = |what: String| UpsertError::Unopened {
            database: name.clone(),
            is_transient: false,
            hint: OF_URL,
            source: what.into(),
        };
        let mut config: Config = url.parse().map_err(|error: Error| refused(fault(&error)))?;
        // A password with an `@` of its own would stand among the hosts.
        let is_cut = |text: &str| text.contains('@');
        let hosts = config.get_hosts();
        if hosts.iter().any(|host| matches!(host, Host::Tcp(name) if name.is_empty() || is_cut(name))) {
            return Err(refused("its URL has a host that is no name".to_owned()));
        }
        if hosts.is_empty() {
            // The name by which a certificate is verified.
            let addresses: Vec<String> = config.get_hostaddrs().iter().map(ToString::to_string).collect();
            if addresses.is_empty() {
                return Err(refused("its URL names no host".to_owned()));
            }
            addresses.into_iter().for_each(|address| {
                config.host(address);
            });
        }
        // Source: libpq; a database that is not named is that of the user's name.
        let Some(database) = config.get_dbname().or(config.get_user()).map(str::to_owned) else {
            return Err(refused("its URL names no database".to_owned()));
        };
        if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_ssl_mode() == SslMode::Require && !cfg!(feature = "tls") {
            return Err(UpsertError::Unopened {
                database: name.clone(),
                is_transient: false,
                hint: "build with the default features, or say `sslmode=disable` in the URL where nobody can be on the way",
                source: "its URL asks for TLS, and this build has none".into(),
            });
        }
        limit(&mut config);
        Ok(Self { name, config, database })
    }

    /// What people see of it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it leads, without user and password: `postgres:db.example:5432/items`.
    pub fn address(&self) -> String {
        let (hosts, addresses, ports) = (self.config.get_hosts(), self.config.get_hostaddrs(), self.config.get_ports());
        let server = |(n, host): (usize, &Host)| {
            let port = ports.get(n).or_else(|| ports.first()).copied().unwrap_or(5432);
            let host = match (addresses.get(n), host) {
                (Some(address), _) => address.to_string(),
                (None, Host::Tcp(name)) => name.clone(),
                (None, Host::Unix(path)) => path.display().to_string(),
            };
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        let servers: Vec<String> = hosts.iter().enumerate().map(server).collect();
        format!("postgres:{}/{}", servers.join(","), self.database)
    }

    /// Connects, and drives the connection until the client is dropped.
    pub(super) async fn connect(&self) -> Result<Client, UpsertError> {
        let servers = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX);
        let patience = self.config.get_connect_timeout().copied().unwrap_or(CONNECT).saturating_mul(servers) + ANSWER;
        // Real time, not the clock's: this is about a socket.
        match tokio::time::timeout(patience, self.session()).await {
            Ok(session) => session,
            Err(_elapsed) => Err(UpsertError::Unopened {
                database: self.name.clone(),
                is_transient: true,
                hint: "see that the URL has the host and port of PostgreSQL, and that it is not overloaded; `baler run` goes on",
                source: Box::new(io::Error::new(io::ErrorKind::TimedOut, format!("no session within {patience:?}"))),
            }),
        }
    }

    async fn session(&self) -> Result<Client, UpsertError> {
        let cannot = |error: Error| unopened(&self.name, error);
        #[cfg(feature = "tls")]
        if self.config.get_ssl_mode() != SslMode::Disable {
            let tls = baler_store::tls_config().map_err(|error| UpsertError::Unopened {
                database: self.name.clone(),
                is_transient: false,
                hint: "see that `SSL_CERT_FILE` names certificates (PEM) where it is set",
                source: error.into(),
            })?;
            let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
            let (client, connection) = self.config.connect(tls).await.map_err(cannot)?;
            drive(connection);
            return Ok(client);
        }
        let (client, connection) = self.config.connect(NoTls).await.map_err(cannot)?;
        drive(connection);
        Ok(client)
    }
}

fn drive(connection: impl Future<Output = Result<(), Error>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the database ended");
        }
    });
}

/// Sets the limits of waiting that a URL does not.
fn limit(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE);
    }
    if config.get_keepalives_idle() == LIBRARY_IDLE {
        config.keepalives_idle(IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(RETRIES);
    }
}

/// Why a text is no URL, in words that have no piece of a password in them.
fn fault(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let option = cause.split('`').nth(1).unwrap_or_default();
    if cause.starts_with("invalid value for option") {
        return format!("its URL has a value of `{option}` that is not known here");
    }
    match OF_LIBPQ.contains(&option) {
        true => format!("its URL has the option `{option}`, which is not taken here"),
        false => "its URL is none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PostgresUrl {
        PostgresUrl::try_new("$DB", text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    #[test]
    fn an_address_has_hosts_ports_and_database_and_no_secret() {
        for (text, address) in [
            ("postgres://me:pw@a.example/items", "postgres:a.example:5432/items"),
            (
                "postgresql://me:p%40w@a.example,b.example:5433/items?sslmode=prefer",
                "postgres:a.example:5432,b.example:5433/items",
            ),
            ("host=a,b port=6000 user=me password='p w' dbname=items", "postgres:a:6000,b:6000/items"),
            ("postgres://me:pw@[::1]:7000/items", "postgres:[::1]:7000/items"),
            ("postgres://me:pw@a.example", "postgres:a.example:5432/me"),
            ("hostaddr=127.0.0.1 dbname=items", "postgres:127.0.0.1:5432/items"),
            ("host=a.example hostaddr=10.0.0.1 dbname=items", "postgres:10.0.0.1:5432/items"),
            ("postgres:///items?host=/run/postgresql", "postgres:/run/postgresql:5432/items"),
        ] {
            assert_eq!(url(text).address(), address, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_url_is_refused_without_being_told() {
        for (text, what) in [
            ("postgres://me:s@cret@a.example/items", "a host that is no name"),
            ("postgres://me:s@/cret@a.example/items", "names no host"),
            ("postgres://me:s@?cret=a@a.example/items", "is none"),
            ("password=s cret=x host=a dbname=items", "is none"),
            ("nothing", "is none"),
            ("", "names no host"),
            ("postgres://me@/items", "names no host"),
            ("postgres://a.example", "names no database"),
            ("postgres://a.example/items?sslmode=verify-full", "a value of `sslmode`"),
            ("postgres://a.example/items?sslrootcert=ca.pem", "the option `sslrootcert`"),
        ] {
            let error = PostgresUrl::try_new("$DB", text).err().unwrap();
            let told = format!("{error}: {}", std::error::Error::source(&error).unwrap());
            assert!(told.contains(what) && !told.contains("cret"), "{text}: {told}");
            assert_eq!(error.kind(), baler_model::Kind::Invalid);
            assert!(error.hint().unwrap().contains("postgres://user:password@host"), "{text}");
        }
    }

    #[test]
    fn no_wait_is_without_end_and_a_url_may_say_otherwise() {
        let of = |text: &str| {
            let config = url(text).config;
            (
                config.get_connect_timeout().copied(),
                config.get_tcp_user_timeout().copied(),
                config.get_keepalives_idle(),
            )
        };
        assert_eq!(of("postgres://a/b"), (Some(CONNECT), Some(SILENCE), IDLE));
        let seconds = Duration::from_secs;
        assert_eq!(
            of("postgres://a/b?connect_timeout=3&tcp_user_timeout=4&keepalives_idle=5"),
            (Some(seconds(3)), Some(seconds(4)), seconds(5))
        );
    }
}
