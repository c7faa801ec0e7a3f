//! Logs for whoever looks for a fault: on stderr, `-v` and `BALER_LOG` say how much.

use tracing_subscriber::EnvFilter;

/// What crates that are not ours may say: they log what is handled and reported by us.
const QUIET: &str = "aws_config=off,aws_runtime=off,aws_smithy_runtime=off,hyper=off,hyper_util=off,rustls=off";

/// Switches logging on. `BALER_LOG` (such as `baler_engine=debug`) wins over `-v`.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = match std::env::var("BALER_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::new(directives),
        Ok(_) | Err(_) if verbose > 2 => EnvFilter::new(level),
        Ok(_) | Err(_) => EnvFilter::new(format!("{level},{QUIET}")),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(verbose > 1).init();
}
