//! HTTP, as far as the stores behind it share it: connections, rates, retries, answers, and bodies that are resumed.
//!
//! - A request target is put together by the store and reaches the server byte for byte.
//! - Nothing here knows what a request means; whether a lost reply may be asked for again is decided by the store.
//!
//! [`transport`], [`limit`], [`retry`], [`answer`], [`body`] and [`xml`] serve all of them; [`mod@line`] is the client of
//! Azure and GCS (S3 has its own, whose signatures, clocks and checksums differ).

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod encode;
pub(crate) mod limit;
#[cfg(any(feature = "azure", feature = "gcs"))]
pub(crate) mod line;
pub(crate) mod options;
mod post;
pub(crate) mod retry;
pub(crate) mod transport;
#[cfg(any(feature = "s3", feature = "azure"))]
pub(crate) mod xml;

pub use options::{Proxy, Roots};
pub use post::{PostError, Posted, Poster};
pub use transport::tls_config;
