//! Finds out who asks of a GCS store: settings, then the environment, as Google's libraries do.
//!
//! `GOOGLE_APPLICATION_CREDENTIALS` names the key file of a service account; without it the metadata server of the machine
//! is asked when a token is needed. `STORAGE_EMULATOR_HOST` names an emulator; to it, and to any `http://` endpoint, no
//! credentials are sent. Nothing is sent here.

use baler_model::StoreId;
use baler_model::config::GcsConfig;
use baler_store::StoreError;
use baler_store::gcs::{GcsSecret, Roots};

const METADATA_HOST: &str = "metadata.google.internal";

/// What one GCS store is reached with.
#[derive(Debug)]
pub(crate) struct GcsAccount {
    /// The endpoint; `None` is Google's own.
    pub(crate) endpoint: Option<String>,
    /// Who asks.
    pub(crate) secret: GcsSecret,
    /// Trusted certificate authorities.
    pub(crate) roots: Roots,
}

impl GcsAccount {
    /// Looks in the store's settings and the environment, in this order.
    ///
    /// Errors: [`StoreError::Failed`] when a file that is named cannot be read.
    pub(crate) fn find(
        id: &StoreId,
        config: &GcsConfig,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, StoreError> {
        let failed = |doing: String, error: std::io::Error| StoreError::Failed {
            store: id.to_string(),
            doing,
            detail: error.to_string(),
        };
        let emulator = || {
            env("STORAGE_EMULATOR_HOST").map(|host| match host.contains("://") {
                true => host,
                false => format!("http://{host}"),
            })
        };
        let endpoint = config.endpoint.clone().or_else(emulator);
        let open = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let secret = match env("GOOGLE_APPLICATION_CREDENTIALS") {
            _ if open => GcsSecret::Anonymous,
            Some(path) => {
                let doing = |path: &str| format!("read `{path}`, which `GOOGLE_APPLICATION_CREDENTIALS` names");
                GcsSecret::ServiceAccount(std::fs::read_to_string(&path).map_err(|e| failed(doing(&path), e))?)
            }
            None => GcsSecret::Metadata(env("GCE_METADATA_HOST").unwrap_or_else(|| METADATA_HOST.into())),
        };
        let roots = match &config.ca_bundle {
            None => Roots::Native,
            Some(path) => {
                let doing = format!("read the certificates in `{path}`");
                Roots::Bundle(std::fs::read(path).map_err(|e| failed(doing, e))?)
            }
        };
        Ok(Self { endpoint, secret, roots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(endpoint: Option<&str>, set: &[(&str, &str)]) -> Result<GcsAccount, StoreError> {
        let config = GcsConfig { bucket: "raw".into(), endpoint: endpoint.map(str::to_owned), ..GcsConfig::default() };
        let env = |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        GcsAccount::find(&StoreId::GoogleBucket("raw".into()), &config, &env)
    }

    #[test]
    fn a_key_file_comes_before_the_metadata_server() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        let found = find(None, &[("GOOGLE_APPLICATION_CREDENTIALS", file.path().to_str().unwrap())]).unwrap();
        assert_eq!((found.secret, found.endpoint), (GcsSecret::ServiceAccount("{}".into()), None));
        assert_eq!(find(None, &[]).unwrap().secret, GcsSecret::Metadata(METADATA_HOST.into()));
        let found = find(None, &[("GCE_METADATA_HOST", "127.0.0.1:8080")]).unwrap();
        assert_eq!(found.secret, GcsSecret::Metadata("127.0.0.1:8080".into()));
        let error = find(None, &[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")]).unwrap_err();
        assert!(error.to_string().contains("`/nowhere/key.json`"), "{error}");
    }

    #[test]
    fn an_emulator_is_sent_no_credentials() {
        let key = ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json");
        for host in ["127.0.0.1:9000", "http://127.0.0.1:9000"] {
            let found = find(None, &[("STORAGE_EMULATOR_HOST", host), key]).unwrap();
            assert_eq!(found.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
            assert_eq!(found.secret, GcsSecret::Anonymous);
        }
        let own = find(Some("https://storage.example"), &[("STORAGE_EMULATOR_HOST", "127.0.0.1:9000")]).unwrap();
        assert_eq!(own.endpoint.as_deref(), Some("https://storage.example"), "settings come first");
        assert_eq!(own.secret, GcsSecret::Metadata(METADATA_HOST.into()));
    }
}
