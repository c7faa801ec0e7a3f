//! Finds the Azure account of a store as the Azure CLI does: settings, then the environment.
//!
//! `AZURE_STORAGE_CONNECTION_STRING`, or `AZURE_STORAGE_ACCOUNT` with `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`,
//! and `AZURE_STORAGE_SERVICE_ENDPOINT` where the account is not at Azure's own address. Nothing is sent.

use baler_model::StoreId;
use baler_model::config::AzureConfig;
use baler_store::StoreError;
use baler_store::azure::{AzureSecret, Roots};

/// The account and key that every emulator has; both are published.
const EMULATOR: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// What one Azure store is reached with.
#[derive(Debug)]
pub(crate) struct AzureAccount {
    /// The account's name.
    pub(crate) name: String,
    /// The blob endpoint; `None` is Azure's own.
    pub(crate) endpoint: Option<String>,
    /// Who asks.
    pub(crate) secret: AzureSecret,
    /// Trusted certificate authorities.
    pub(crate) roots: Roots,
}

/// What a connection string says.
#[derive(Default)]
struct Connection {
    account: Option<String>,
    endpoint: Option<String>,
    key: Option<String>,
    sas: Option<String>,
}

impl Connection {
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let (mut protocol, mut suffix) = ("https".to_owned(), None);
        for (name, value) in text.split(';').filter_map(|pair| pair.trim().split_once('=')) {
            let value = value.to_owned();
            match name.to_ascii_lowercase().as_str() {
                "accountname" => found.account = Some(value),
                "accountkey" => found.key = Some(value),
                "sharedaccesssignature" => found.sas = Some(value),
                "blobendpoint" => found.endpoint = Some(value),
                "endpointsuffix" => suffix = Some(value),
                "defaultendpointsprotocol" => protocol = value,
                "usedevelopmentstorage" if value == "true" => {
                    found.account = Some(EMULATOR.into());
                    found.key = Some(EMULATOR_KEY.into());
                    found.endpoint = Some(EMULATOR_ENDPOINT.into());
                }
                // Queues, tables and files have their own.
                _ => {}
            }
        }
        if let (None, Some(account), Some(suffix)) = (&found.endpoint, &found.account, suffix) {
            found.endpoint = Some(format!("{protocol}://{account}.blob.{suffix}"));
        }
        found
    }
}

impl AzureAccount {
    /// Looks in the store's settings and the environment, in this order.
    ///
    /// A connection string counts for the account that it names only; another account needs its own key or token.
    ///
    /// Errors: [`StoreError::Denied`] when there is no account, key or token; [`StoreError::Failed`] when the certificate
    /// bundle cannot be read.
    pub(crate) fn find(
        id: &StoreId,
        config: &AzureConfig,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, StoreError> {
        let denied = |detail: String, hint: &str| StoreError::Denied {
            store: id.to_string(),
            doing: format!("open container `{}`", config.container),
            detail,
            hint: Some(hint.to_owned()),
        };
        let connection =
            env("AZURE_STORAGE_CONNECTION_STRING").map(|text| Connection::parse(&text)).unwrap_or_default();
        let wanted = config.account.clone().or_else(|| env("AZURE_STORAGE_ACCOUNT"));
        let connection = match (&wanted, &connection.account) {
            (Some(wanted), Some(other)) if wanted != other => Connection::default(),
            _ => connection,
        };
        let Some(name) = wanted.or(connection.account) else {
            let hint = "set `account` in `[stores]`, `AZURE_STORAGE_ACCOUNT` or `AZURE_STORAGE_CONNECTION_STRING`";
            return Err(denied("no storage account is named".into(), hint));
        };
        let key = env("AZURE_STORAGE_KEY").or(connection.key).map(AzureSecret::SharedKey);
        let sas = || env("AZURE_STORAGE_SAS_TOKEN").or(connection.sas).map(AzureSecret::Sas);
        let Some(secret) = key.or_else(sas) else {
            let hint = "set `AZURE_STORAGE_KEY`, `AZURE_STORAGE_SAS_TOKEN` or `AZURE_STORAGE_CONNECTION_STRING`; signing \
                        in with an identity is not supported";
            return Err(denied(format!("there is no key and no SAS token for account `{name}`"), hint));
        };
        let endpoint =
            config.endpoint.clone().or(connection.endpoint).or_else(|| env("AZURE_STORAGE_SERVICE_ENDPOINT"));
        let roots = match &config.ca_bundle {
            None => Roots::Native,
            Some(path) => Roots::Bundle(std::fs::read(path).map_err(|e| StoreError::Failed {
                store: id.to_string(),
                doing: format!("read the certificates in `{path}`"),
                detail: e.to_string(),
            })?),
        };
        Ok(Self { name, endpoint, secret, roots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(account: Option<&str>, set: &[(&str, &str)]) -> Result<AzureAccount, StoreError> {
        let config =
            AzureConfig { account: account.map(str::to_owned), container: "raw".into(), ..AzureConfig::default() };
        let env = |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        AzureAccount::find(&StoreId::Container("raw".into()), &config, &env)
    }

    const CONNECTION: (&str, &str) = (
        "AZURE_STORAGE_CONNECTION_STRING",
        "DefaultEndpointsProtocol=https;AccountName=corp;AccountKey=a2V5==;EndpointSuffix=core.usgovcloudapi.net",
    );

    #[test]
    fn a_connection_string_gives_account_key_and_endpoint() {
        let found = find(None, &[CONNECTION]).unwrap();
        assert_eq!((found.name.as_str(), found.secret), ("corp", AzureSecret::SharedKey("a2V5==".into())));
        assert_eq!(found.endpoint.as_deref(), Some("https://corp.blob.core.usgovcloudapi.net"));
        let emulator = find(None, &[("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true")]).unwrap();
        assert_eq!(emulator.endpoint.as_deref(), Some(EMULATOR_ENDPOINT));
    }

    #[test]
    fn a_connection_string_of_another_account_does_not_count() {
        let error = find(Some("other"), &[CONNECTION]).unwrap_err();
        assert!(error.to_string().contains("no key and no SAS token for account `other`"), "{error}");
        let found = find(Some("other"), &[CONNECTION, ("AZURE_STORAGE_SAS_TOKEN", "sig=x")]).unwrap();
        assert_eq!((found.secret, found.endpoint), (AzureSecret::Sas("sig=x".into()), None));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = find(None, &[("AZURE_STORAGE_KEY", "a2V5")]).unwrap_err();
        assert!(error.hint().unwrap().contains("AZURE_STORAGE_ACCOUNT"), "{error}");
        let error = find(None, &[("AZURE_STORAGE_ACCOUNT", "corp")]).unwrap_err();
        assert!(error.hint().unwrap().contains("AZURE_STORAGE_KEY"), "{error}");
    }
}
