//! Opens the stores of a configuration, each once and only when a flow needs it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use baler_engine::Stores;
use baler_model::config::{AzureConfig, DirectoryConfig, GcsConfig, Hosts, S3Config};
use baler_model::{Config, StoreConfig, StoreId};
use baler_store::{Clock, DirectoryOptions, DirectoryStore, IdSource, Store, StoreError, SweptTrash};

/// The stores of one configuration.
#[derive(Debug)]
pub(crate) struct OpenStores {
    configs: BTreeMap<StoreId, StoreConfig>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    #[cfg_attr(
        not(any(feature = "s3", feature = "azure", feature = "gcs")),
        expect(dead_code, reason = "directories do not connect")
    )]
    connections: usize,
    opened: Mutex<Opened>,
}

#[derive(Debug, Default)]
struct Opened {
    stores: BTreeMap<StoreId, Arc<dyn Store>>,
    directories: Vec<Arc<DirectoryStore>>,
}

impl OpenStores {
    /// Takes the stores of a configuration; opens none.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>, connections: usize) -> Self {
        Self { configs: config.stores.clone(), clock, ids, connections, opened: Mutex::default() }
    }

    /// Finishes deletions that processes left half done when they died, in every directory that is open.
    pub(crate) async fn sweep_trash(&self) -> Result<Vec<SweptTrash>, StoreError> {
        let directories = self.opened.lock().unwrap_or_else(PoisonError::into_inner).directories.clone();
        let mut swept = Vec::new();
        for directory in directories {
            swept.push(directory.sweep_trash().await?);
        }
        Ok(swept)
    }

    fn directory(&self, id: &StoreId, config: &DirectoryConfig) -> Result<Arc<DirectoryStore>, StoreError> {
        let options = DirectoryOptions {
            single_host: match config.hosts {
                Hosts::Single => true,
                Hosts::Any => false,
            },
        };
        let root = PathBuf::from(&config.root);
        let store = DirectoryStore::new(id.to_string(), root, options, self.clock.clone(), self.ids.clone())?;
        Ok(Arc::new(store))
    }

    #[cfg(feature = "s3")]
    fn bucket(&self, id: &StoreId, config: &S3Config) -> Result<Arc<dyn Store>, StoreError> {
        use baler_store::s3::{Addressing, S3Options, S3Store};

        use crate::credentials::Account;

        let account = Account::find(id, config)?;
        let options = S3Options {
            prefix: config.prefix.clone(),
            endpoint: account.endpoint.clone(),
            addressing: match config.addressing {
                baler_model::config::Addressing::Auto => Addressing::Auto,
                baler_model::config::Addressing::Path => Addressing::Path,
                baler_model::config::Addressing::VirtualHost => Addressing::VirtualHost,
            },
            storage_class: config.storage_class.clone(),
            kms_key: config.kms_key.clone(),
            tags: config.tags.clone().into_iter().collect(),
            requests_per_second: config.requests_per_second,
            max_connections: self.connections,
            roots: account.roots.clone(),
            ..S3Options::new(id.to_string(), &config.bucket, &account.region)
        };
        let store = S3Store::new(options, Arc::new(account.credentials()), self.clock.clone(), self.ids.clone())?;
        Ok(Arc::new(store))
    }

    #[cfg(not(feature = "s3"))]
    fn bucket(&self, id: &StoreId, config: &S3Config) -> Result<Arc<dyn Store>, StoreError> {
        Err(not_built(id, &format!("s3://{}", config.bucket), "s3"))
    }

    #[cfg(feature = "azure")]
    fn container(&self, id: &StoreId, config: &AzureConfig) -> Result<Arc<dyn Store>, StoreError> {
        use baler_store::azure::{AzureOptions, AzureStore};

        use crate::azure_account::AzureAccount;

        let AzureAccount { name, endpoint, secret, roots } = AzureAccount::find(id, config, &env)?;
        let options = AzureOptions {
            prefix: config.prefix.clone(),
            endpoint,
            requests_per_second: config.requests_per_second,
            max_connections: self.connections,
            roots,
            ..AzureOptions::new(id.to_string(), name, &config.container, secret)
        };
        Ok(Arc::new(AzureStore::new(options, self.clock.clone(), self.ids.clone())?))
    }

    #[cfg(not(feature = "azure"))]
    fn container(&self, id: &StoreId, config: &AzureConfig) -> Result<Arc<dyn Store>, StoreError> {
        Err(not_built(id, &format!("az://{}", config.container), "azure"))
    }

    #[cfg(feature = "gcs")]
    fn google_bucket(&self, id: &StoreId, config: &GcsConfig) -> Result<Arc<dyn Store>, StoreError> {
        use baler_store::gcs::{GcsOptions, GcsStore};

        use crate::gcs_account::GcsAccount;

        let GcsAccount { endpoint, secret, roots } = GcsAccount::find(id, config, &env)?;
        let options = GcsOptions {
            prefix: config.prefix.clone(),
            endpoint,
            requests_per_second: config.requests_per_second,
            max_connections: self.connections,
            roots,
            ..GcsOptions::new(id.to_string(), &config.bucket, secret)
        };
        Ok(Arc::new(GcsStore::new(options, self.clock.clone(), self.ids.clone())?))
    }

    #[cfg(not(feature = "gcs"))]
    fn google_bucket(&self, id: &StoreId, config: &GcsConfig) -> Result<Arc<dyn Store>, StoreError> {
        Err(not_built(id, &format!("gs://{}", config.bucket), "gcs"))
    }
}

/// A variable of the environment that is not empty.
#[cfg(any(feature = "azure", feature = "gcs"))]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
fn not_built(id: &StoreId, url: &str, feature: &str) -> StoreError {
    StoreError::Unsupported {
        store: id.to_string(),
        doing: format!("be opened as `{url}`"),
        detail: format!("this build of Baler has no `{}`", url.split_inclusive("//").next().unwrap_or(url)),
        hint: Some(format!(
            "build with the feature `{feature}`, which is on by default: `cargo install --path crates/baler`"
        )),
    }
}

impl Stores for OpenStores {
    fn open(&self, id: &StoreId) -> Result<Arc<dyn Store>, StoreError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.stores.get(id) {
            return Ok(Arc::clone(store));
        }
        let store = match self.configs.get(id) {
            Some(StoreConfig::Directory(config)) => {
                let directory = self.directory(id, config)?;
                opened.directories.push(Arc::clone(&directory));
                directory as Arc<dyn Store>
            }
            Some(StoreConfig::S3(config)) => self.bucket(id, config)?,
            Some(StoreConfig::Azure(config)) => self.container(id, config)?,
            Some(StoreConfig::Gcs(config)) => self.google_bucket(id, config)?,
            None => {
                return Err(StoreError::Failed {
                    store: id.to_string(),
                    doing: "be opened".into(),
                    detail: "the configuration does not have it".into(),
                });
            }
        };
        opened.stores.insert(id.clone(), Arc::clone(&store));
        Ok(store)
    }
}
