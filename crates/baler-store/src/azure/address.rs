//! Where things are: endpoints, request targets, and the keys that Azure cannot hold.
//!
//! Azure trims dots at the end of each piece of a path, turns `\` into `/`, and resolves `.` and `..`. Such keys are
//! refused, since they would be kept under another name. Source: Azure REST API, "Naming and referencing containers,
//! blobs, and metadata".

use http::Uri;

use super::config::AzureOptions;
use crate::http::encode::encode_path;

/// Staged outputs lie below this, within the store's prefix; listings do not show it and no key may lie there.
pub(crate) const STAGING: &str = ".baler-staged/";

/// Characters of a blob's name at most.
const LONGEST_NAME: usize = 1024;

/// Why a store's address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("`{endpoint}` is no endpoint: {reason}")]
    Endpoint { endpoint: String, reason: String },
    #[error("`{container}` is no name of a container: 3 to 63 lower-case letters, digits and single `-` are allowed")]
    Container { container: String },
    #[error("`{account}` is no name of a storage account: 3 to 24 lower-case letters and digits are allowed")]
    Account { account: String },
}

/// One container's address.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// Scheme, host and port, and the endpoint's own path if it has one; no `/` at its end.
    pub(crate) endpoint: String,
    pub(crate) container: String,
    /// What every key begins with on the server.
    pub(crate) prefix: String,
}

impl Address {
    pub(crate) fn new(options: &AzureOptions) -> Result<Self, AddressError> {
        let (account, container) = (options.account.clone(), options.container.clone());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if account.is_empty() || account.len() > 24 || !account.chars().all(plain) {
            return Err(AddressError::Account { account });
        }
        let special = matches!(container.as_str(), "$root" | "$web" | "$logs");
        let named = (3..=63).contains(&container.len())
            && container.chars().all(|c| plain(c) || c == '-')
            && !container.starts_with('-')
            && !container.ends_with('-')
            && !container.contains("--");
        if !special && !named {
            return Err(AddressError::Container { container });
        }
        let endpoint = match &options.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{account}.blob.core.windows.net"),
        };
        let fault = |reason: &str| AddressError::Endpoint { endpoint: endpoint.clone(), reason: reason.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|e: http::uri::InvalidUri| fault(&e.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(fault("it must begin with `http://` or `https://`"));
        }
        let authority = uri.authority().ok_or_else(|| fault("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(fault("credentials do not belong there"));
        }
        if uri.query().is_some() {
            return Err(fault("it may not have a query: give a SAS token by `AZURE_STORAGE_SAS_TOKEN`"));
        }
        // Emulators have the account in the path; leaving it out is easily done.
        let host = authority.host();
        let by_number = host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        let endpoint = match by_number && uri.path().trim_matches('/').is_empty() {
            true => format!("{endpoint}/{account}"),
            false => endpoint,
        };
        let mut prefix = options.prefix.clone();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Ok(Self { endpoint, container, prefix })
    }

    /// The address for people; it names endpoint, container and prefix, so that no two places have the same.
    pub(crate) fn url(&self) -> String {
        format!("{}/{}/{}", self.endpoint, self.container, self.prefix)
    }

    pub(crate) fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The container's request target.
    pub(crate) fn of_container(&self) -> String {
        format!("{}/{}", self.endpoint, self.container)
    }

    /// A blob's request target.
    pub(crate) fn of_blob(&self, key: &str) -> String {
        format!("{}/{}/{}{}", self.endpoint, self.container, encode_path(&self.prefix), encode_path(key))
    }

    /// Why Azure cannot hold a key byte for byte; `None` where it can.
    pub(crate) fn unholdable(&self, key: &str) -> Option<String> {
        if key.starts_with(STAGING) {
            return Some(format!("`{STAGING}` is where staged outputs lie"));
        }
        let full = self.full_key(key);
        let length = full.chars().count();
        if length > LONGEST_NAME {
            return Some(format!("the name has {length} characters, {LONGEST_NAME} are allowed"));
        }
        if full.contains('\\') {
            return Some("Azure turns `\\` into `/`".into());
        }
        if full.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
            return Some("Azure takes no control characters in names".into());
        }
        if full.split('/').any(|piece| piece.ends_with('.')) {
            return Some("Azure trims dots at the end of a piece between slashes".into());
        }
        if full.ends_with('/') {
            return Some("a name that ends in `/` is a directory to Azure".into());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::AzureSecret;
    use super::*;

    fn address(change: impl FnOnce(&mut AzureOptions)) -> Result<Address, AddressError> {
        let mut options = AzureOptions::new("lake", "corporate", "raw-data", AzureSecret::Sas("sig=x".into()));
        change(&mut options);
        Address::new(&options)
    }

    #[test]
    fn targets_name_the_account_in_the_host_and_on_emulators_in_the_path() {
        let target = |change: fn(&mut AzureOptions)| address(change).unwrap().of_blob("a b/ü+%");
        let path = "raw-data/a%20b/%C3%BC%2B%25";
        assert_eq!(target(|_| {}), format!("https://corporate.blob.core.windows.net/{path}"));
        let emulator = format!("http://127.0.0.1:10000/corporate/{path}");
        assert_eq!(target(|o| o.endpoint = Some("http://127.0.0.1:10000".into())), emulator);
        assert_eq!(target(|o| o.endpoint = Some("http://127.0.0.1:10000/corporate/".into())), emulator);
        assert_eq!(
            target(|o| o.endpoint = Some("https://blob.example".into())),
            format!("https://blob.example/{path}")
        );
    }

    #[test]
    fn names_that_azure_does_not_have_are_refused() {
        for container in ["", "ab", "A-b", "a--b", "-ab", "ab-", "a_b", "a/b"] {
            assert!(address(|o| o.container = container.into()).is_err(), "{container}");
        }
        assert!(address(|o| o.container = "$web".into()).is_ok());
        for account in ["", "a-b", "A", "a.b"] {
            assert!(address(|o| o.account = account.into()).is_err(), "{account}");
        }
        for endpoint in ["127.0.0.1:9", "ftp://h", "https://u:p@h", "https://h?sig=x"] {
            assert!(address(|o| o.endpoint = Some(endpoint.into())).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn keys_that_azure_would_change_are_refused() {
        let at = address(|o| o.prefix = "lake".into()).unwrap();
        for bad in ["a/../b", "./a", "a.", "a./b", "a\\b", "a\nb", "a/", ".baler-staged/x", &"k".repeat(1020)] {
            assert!(at.unholdable(bad).is_some(), "{bad}");
        }
        for good in ["a", "a//b", "/a", "a b+c%2F", ".a/.b", "ü/日本語", &"k".repeat(1019)] {
            assert_eq!(at.unholdable(good), None, "{good}");
        }
    }
}
