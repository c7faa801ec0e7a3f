//! The in-memory S3 server as a process of its own: prints its endpoint and serves until it is stopped.

use std::time::Duration;

use baler_testkit::s3::{Access, Conditions, Etags, S3Options, S3Server};
use clap::{Parser, ValueEnum};

/// Serve S3 from memory on 127.0.0.1
#[derive(Debug, Parser)]
struct Args {
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A bucket that is there from the start; may be given several times
    #[arg(long = "bucket", default_value = "bucket")]
    buckets: Vec<String>,
    /// How long every call waits before it is served
    #[arg(long, default_value_t = 0)]
    first_byte_delay_ms: u64,
    /// Access key
    #[arg(long, default_value = "test")]
    access_key: String,
    /// Its secret
    #[arg(long, default_value = "testtest")]
    secret_key: String,
    /// Region
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Most entries of one page of a listing
    #[arg(long, default_value_t = 1000)]
    page_size: usize,
    /// How conditions of writes are treated
    #[arg(long, value_enum, default_value_t = ConditionsArg::Honoured)]
    conditions: ConditionsArg,
    /// Take any etags instead of MD5: copies of parts cost no hashing
    #[arg(long)]
    opaque_etags: bool,
    /// Serve without asking for signatures; signed requests are refused then
    #[arg(long)]
    open: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ConditionsArg {
    Honoured,
    Ignored,
    NotAtomic,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let server = S3Server::start(S3Options {
        port: args.port,
        buckets: args.buckets,
        access: if args.open { Access::Open } else { Access::Signed },
        access_key: args.access_key,
        secret_key: args.secret_key,
        region: args.region,
        page_size: args.page_size,
        conditions: match args.conditions {
            ConditionsArg::Honoured => Conditions::Honoured,
            ConditionsArg::Ignored => Conditions::Ignored,
            ConditionsArg::NotAtomic => Conditions::NotAtomic,
        },
        etags: if args.opaque_etags { Etags::Opaque } else { Etags::Md5 },
        first_byte_delay: Duration::from_millis(args.first_byte_delay_ms),
        ..S3Options::default()
    })
    .await?;
    #[expect(clippy::print_stdout, reason = "whoever starts the process reads the endpoint from there")]
    {
        println!("{}", server.endpoint);
    }
    tokio::signal::ctrl_c().await
}
