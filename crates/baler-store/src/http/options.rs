//! How a server is reached: proxy and certificates. Nothing is read from the environment but the proxy, if asked.

/// Whether requests go through a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, like curl.
    #[default]
    Environment,
    /// Never.
    Direct,
}

/// Which certificate authorities are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those of the operating system.
    #[default]
    Native,
    /// Those of a PEM bundle, and no others, as `AWS_CA_BUNDLE` has it: the bundle's content.
    Bundle(Vec<u8>),
}
