//! Finds account settings as the AWS CLI does: endpoint, region, certificates, and credentials when they are first needed.
//!
//! - Credentials come from the default chain: environment, profile (SSO and processes included), web identity,
//!   container, instance. A profile that the store names is asked alone, as with `aws --profile`.
//! - Nothing is sent for keys that the environment gives.
//! - Secrets stay in memory, and `Debug` shows none.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, error};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use baler_engine::DynamoAsked;
use baler_model::StoreId;
use baler_model::config::S3Config;
use baler_store::StoreError;
use baler_store::s3::{CredentialsError, Roots, S3Credentials, S3Secret};
use jiff::{SignedDuration, Timestamp};

/// Keys are renewed this long before they end: a request that was signed with them may take its time.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// Where a region must be named and nobody does: servers that are not Amazon's take any.
const ANY_REGION: &str = "us-east-1";

/// What one S3 store is reached with.
#[derive(Debug)]
pub(crate) struct Account {
    /// The server; `None` is Amazon.
    pub(crate) endpoint: Option<String>,
    /// The region.
    pub(crate) region: String,
    /// Trusted certificate authorities.
    pub(crate) roots: Roots,
    profile: Option<String>,
    providers: ProviderConfig,
}

impl Account {
    /// Looks in the store's settings, the environment and the profile, in this order.
    ///
    /// Must run on a runtime with several threads: profiles are read there. The instance is asked for its region only
    /// where there is neither an endpoint nor keys in the environment.
    ///
    /// Errors: [`StoreError::Failed`] when the certificate bundle cannot be read.
    pub(crate) fn find(id: &StoreId, config: &S3Config) -> Result<Self, StoreError> {
        let endpoint = config.endpoint.clone().or_else(|| env("AWS_ENDPOINT_URL_S3"));
        let (region, profile) = (config.region.clone(), config.profile.clone());
        Self::asked(endpoint, region, profile, config.ca_bundle.clone()).map_err(|(path, error)| StoreError::Failed {
            store: id.to_string(),
            doing: format!("read the certificates in `{path}`"),
            detail: error.to_string(),
        })
    }

    /// The same for tables of DynamoDB.
    pub(crate) fn of_dynamodb(asked: DynamoAsked<'_>) -> Result<Self, String> {
        let DynamoAsked { region, endpoint, profile } = asked;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let endpoint = owned(endpoint).or_else(|| env("AWS_ENDPOINT_URL_DYNAMODB"));
        Self::asked(endpoint, owned(region), owned(profile), None)
            .map_err(|(path, error)| format!("the certificates in `{path}` cannot be read: {error}"))
    }

    /// Errors: certificates that cannot be read, and where they lie.
    fn asked(
        endpoint: Option<String>,
        region: Option<String>,
        profile: Option<String>,
        ca_bundle: Option<String>,
    ) -> Result<Self, (String, std::io::Error)> {
        let endpoint = endpoint.or_else(|| env("AWS_ENDPOINT_URL"));
        let roots = match ca_bundle.or_else(|| env("AWS_CA_BUNDLE")) {
            None => Roots::Native,
            Some(path) => match std::fs::read(&path) {
                Ok(pem) => Roots::Bundle(pem),
                Err(error) => return Err((path, error)),
            },
        };
        let providers = providers(&roots);
        let region = match region.or_else(|| env("AWS_REGION")).or_else(|| env("AWS_DEFAULT_REGION")) {
            Some(region) => region,
            None => tokio::task::block_in_place(|| {
                let ask = find_region(&providers, profile.as_deref(), endpoint.is_some());
                tokio::runtime::Handle::current().block_on(ask)
            }),
        };
        Ok(Self { endpoint, region, roots, profile, providers })
    }

    /// Its credentials, found when they are first asked for.
    pub(crate) fn credentials(self) -> ChainCredentials {
        let Self { region, profile, providers, .. } = self;
        ChainCredentials { region, profile, providers, cached: RwLock::default(), chain: tokio::sync::Mutex::default() }
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// How the chain talks: rustls with ring, the proxy of the environment, the same certificates as the store.
fn providers(roots: &Roots) -> ProviderConfig {
    let trust = match roots {
        Roots::Native => TrustStore::default(),
        Roots::Bundle(pem) => TrustStore::empty().with_pem_certificate(pem.clone()),
    };
    let tls = TlsContext::builder().with_trust_store(trust).build().expect("a trust store is all that is set");
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    });
    ProviderConfig::default().with_http_client(client)
}

async fn find_region(providers: &ProviderConfig, profile: Option<&str>, custom_endpoint: bool) -> String {
    let mut of_profile = ProfileFileRegionProvider::builder().configure(providers);
    if let Some(profile) = profile {
        of_profile = of_profile.profile_name(profile);
    }
    let mut region = of_profile.build().region().await;
    if region.is_none() && !custom_endpoint && env("AWS_ACCESS_KEY_ID").is_none() {
        region = ImdsRegionProvider::builder().configure(providers).build().region().await;
    }
    region.map_or_else(|| ANY_REGION.to_owned(), |region| region.as_ref().to_owned())
}

/// Credentials of the default chain, or of one profile; cached until shortly before they end.
pub(crate) struct ChainCredentials {
    region: String,
    profile: Option<String>,
    providers: ProviderConfig,
    cached: RwLock<Option<Arc<S3Secret>>>,
    /// Built once; its lock lets one caller load while the others wait for what it finds.
    chain: tokio::sync::Mutex<Option<SharedCredentialsProvider>>,
}

impl fmt::Debug for ChainCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainCredentials").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl ChainCredentials {
    fn cached(&self) -> Option<Arc<S3Secret>> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn build(&self) -> SharedCredentialsProvider {
        let region = Region::new(self.region.clone());
        let providers = self.providers.clone().with_region(Some(region.clone()));
        match &self.profile {
            Some(profile) => SharedCredentialsProvider::new(
                ProfileFileCredentialsProvider::builder().configure(&providers).profile_name(profile).build(),
            ),
            None => SharedCredentialsProvider::new(
                DefaultCredentialsChain::builder().configure(providers).region(region).build().await,
            ),
        }
    }

    fn explain(&self, error: &error::CredentialsError) -> CredentialsError {
        let looked = match &self.profile {
            Some(profile) => format!("profile `{profile}` gives no credentials"),
            None => "no credentials were found in the environment, a profile, a container or an instance".to_owned(),
        };
        let detail = match error {
            error::CredentialsError::CredentialsNotLoaded(_) => looked,
            error => format!("credentials cannot be loaded: {}", causes(error)),
        };
        CredentialsError { detail }
    }
}

/// An error with all its causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.dedup();
    words.join(": ")
}

#[async_trait]
impl S3Credentials for ChainCredentials {
    async fn credentials(&self, now: Timestamp) -> Result<Option<Arc<S3Secret>>, CredentialsError> {
        let lasts = |secret: &Arc<S3Secret>, margin| secret.expires.is_none_or(|end| now + margin < end);
        if let Some(secret) = self.cached().filter(|secret| lasts(secret, RENEW_BEFORE)) {
            return Ok(Some(secret));
        }
        let mut chain = self.chain.lock().await;
        if let Some(secret) = self.cached().filter(|secret| lasts(secret, RENEW_BEFORE)) {
            return Ok(Some(secret));
        }
        if chain.is_none() {
            *chain = Some(self.build().await);
        }
        let Some(provider) = &*chain else { unreachable!("it was built above") };
        match provider.provide_credentials().await {
            Ok(found) => {
                let secret = Arc::new(secret(&found));
                *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&secret));
                Ok(Some(secret))
            }
            // What is there is good for some minutes more; the next request tries again.
            Err(error) => match self.cached().filter(|secret| lasts(secret, SignedDuration::ZERO)) {
                Some(secret) => Ok(Some(secret)),
                None => Err(self.explain(&error)),
            },
        }
    }

    fn refresh(&self) {
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn secret(found: &Credentials) -> S3Secret {
    S3Secret {
        access_key: found.access_key_id().to_owned(),
        secret_key: found.secret_access_key().to_owned(),
        session_token: found.session_token().map(str::to_owned),
        expires: found.expiry().and_then(|end| Timestamp::try_from(end).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn holding(secret: S3Secret) -> ChainCredentials {
        let account = Account {
            endpoint: None,
            region: ANY_REGION.into(),
            roots: Roots::Native,
            profile: Some("a-profile-that-nobody-has".into()),
            providers: providers(&Roots::Native),
        };
        let credentials = account.credentials();
        *credentials.cached.write().unwrap() = Some(Arc::new(secret));
        credentials
    }

    fn ending(expires: Option<&str>) -> S3Secret {
        S3Secret {
            access_key: "AKIAVISIBLE".into(),
            secret_key: "hidden".into(),
            session_token: None,
            expires: expires.map(|end| end.parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn keys_about_to_end_serve_while_no_others_can_be_had() {
        let credentials = holding(ending(Some("2026-01-01T00:02:00Z")));
        assert!(credentials.credentials(now()).await.unwrap().is_some());
        let ended = holding(ending(Some("2025-12-31T23:59:59Z")));
        let error = ended.credentials(now()).await.unwrap_err();
        assert!(error.detail.contains("a-profile-that-nobody-has"), "{}", error.detail);
    }

    #[tokio::test]
    async fn keys_without_an_end_are_kept_until_the_server_refuses_them() {
        let credentials = holding(ending(None));
        assert!(credentials.credentials(now()).await.unwrap().is_some());
        credentials.refresh();
        assert!(credentials.credentials(now()).await.is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", holding(ending(None)));
        assert!(!shown.contains("AKIA") && !shown.contains("hidden"), "{shown}");
    }
}
