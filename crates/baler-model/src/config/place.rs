//! Stores and the places in them.

use std::collections::BTreeMap;
use std::fmt;

use crate::text::{SyntaxError, did_you_mean, quoted_list};

/// The name of a store in `[stores]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName(String);

impl StoreName {
    /// Takes a text of letters, digits, `-` and `_` that begins with a letter; `None` for anything else.
    pub fn try_new(text: &str) -> Option<Self> {
        let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        plain.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which store is meant: one of `[stores]`, or one that a place names itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreId {
    /// One of `[stores]`.
    Named(StoreName),
    /// A directory, by its absolute path.
    Directory(String),
    /// A bucket of AWS, by its name.
    Bucket(String),
    /// A container of Azure, by its name; the account is the environment's.
    Container(String),
    /// A bucket of Google Cloud Storage, by its name.
    GoogleBucket(String),
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreId::Named(name) => name.fmt(f),
            StoreId::Directory(root) => f.write_str(root),
            StoreId::Bucket(bucket) => write!(f, "s3://{bucket}"),
            StoreId::Container(container) => write!(f, "az://{container}"),
            StoreId::GoogleBucket(bucket) => write!(f, "gs://{bucket}"),
        }
    }
}

/// A place in a store: a prefix of keys, without `/` at its end; empty for the whole store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The store.
    pub store: StoreId,
    /// The path within it.
    pub path: String,
}

impl Place {
    /// The key of something in this place.
    pub fn key(&self, rest: &str) -> String {
        match self.path.as_str() {
            "" => rest.to_owned(),
            path => format!("{path}/{rest}"),
        }
    }

    /// What every key in this place begins with: empty, or with `/` at its end.
    pub fn prefix(&self) -> String {
        self.key("")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&address(&self.store, &self.path))
    }
}

/// Writes a key or path of a store as a place: `lake:a/b`, `/dir/a/b`, `s3://bucket/a/b`.
pub(super) fn address(store: &StoreId, path: &str) -> String {
    match store {
        StoreId::Named(name) => format!("{name}:{path}"),
        StoreId::Directory(root) => format!("{}/{path}", root.trim_end_matches('/')),
        StoreId::Bucket(_) | StoreId::Container(_) | StoreId::GoogleBucket(_) => format!("{store}/{path}"),
    }
}

/// A store's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// A bucket of AWS or of an S3-compatible server.
    S3(S3Config),
    /// A container of Azure Blob Storage.
    Azure(AzureConfig),
    /// A bucket of Google Cloud Storage.
    Gcs(GcsConfig),
    /// A directory.
    Directory(DirectoryConfig),
}

/// A bucket, or a prefix in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// What comes before every key: empty, or with `/` at its end.
    pub prefix: String,
    /// URL of the server; AWS where there is none.
    pub endpoint: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Profile of the AWS configuration files.
    pub profile: Option<String>,
    /// How requests name the bucket.
    pub addressing: Addressing,
    /// Storage class of what is written.
    pub storage_class: Option<String>,
    /// KMS key that encrypts what is written.
    pub kms_key: Option<String>,
    /// Tags of what is written.
    pub tags: BTreeMap<String, String>,
    /// The most requests per second.
    pub requests_per_second: Option<u32>,
    /// Absolute path of a file with certificates to trust.
    pub ca_bundle: Option<String>,
}

/// A container of Azure Blob Storage, or a prefix in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AzureConfig {
    /// The storage account; the environment's where there is none.
    pub account: Option<String>,
    /// The container.
    pub container: String,
    /// What comes before every key: empty, or with `/` at its end.
    pub prefix: String,
    /// URL of the blob endpoint; the account's in Azure where there is none.
    pub endpoint: Option<String>,
    /// The most requests per second.
    pub requests_per_second: Option<u32>,
    /// Absolute path of a file with certificates to trust.
    pub ca_bundle: Option<String>,
}

/// A bucket of Google Cloud Storage, or a prefix in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcsConfig {
    /// The bucket.
    pub bucket: String,
    /// What comes before every key: empty, or with `/` at its end.
    pub prefix: String,
    /// URL of the server; Google's where there is none.
    pub endpoint: Option<String>,
    /// The most requests per second.
    pub requests_per_second: Option<u32>,
    /// Absolute path of a file with certificates to trust.
    pub ca_bundle: Option<String>,
}

/// How requests name the bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the path where an endpoint is given, else in the host name.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the host name.
    VirtualHost,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryConfig {
    /// Its absolute path.
    pub root: String,
    /// Who uses it.
    pub hosts: Hosts,
}

/// How many hosts use a directory; a ledger on a network file system is refused unless it is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Perhaps several.
    #[default]
    Any,
    /// One, so the file declares.
    Single,
}

impl StoreConfig {
    /// Where keys really lie: two stores with one container may hold the same objects.
    pub(super) fn location(&self) -> Location {
        match self {
            StoreConfig::S3(s3) => Location {
                container: format!(
                    "{} {}",
                    s3.endpoint.as_deref().unwrap_or_default().trim_end_matches('/'),
                    s3.bucket
                ),
                prefix: s3.prefix.clone(),
            },
            StoreConfig::Azure(azure) => {
                let server = azure.endpoint.as_deref().unwrap_or_default().trim_end_matches('/');
                let account = azure.account.as_deref().unwrap_or_default();
                Location {
                    container: format!("azure {server} {account} {}", azure.container),
                    prefix: azure.prefix.clone(),
                }
            }
            StoreConfig::Gcs(gcs) => Location {
                container: format!(
                    "gcs {} {}",
                    gcs.endpoint.as_deref().unwrap_or_default().trim_end_matches('/'),
                    gcs.bucket
                ),
                prefix: gcs.prefix.clone(),
            },
            StoreConfig::Directory(directory) => Location {
                container: "directory".to_owned(),
                prefix: match directory.root.trim_matches('/') {
                    "" => String::new(),
                    path => format!("{path}/"),
                },
            },
        }
    }
}

/// A bucket or the file system, and what comes before each key there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) container: String,
    pub(super) prefix: String,
}

/// Where a text places something, before the store is looked up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) store: StoreId,
    /// The path within the store.
    pub(super) path: String,
    /// Where that path begins in the text.
    pub(super) offset: usize,
}

/// What stands behind the store in a place: decides how much of a directory's path becomes its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    /// A pattern or template: the root is the longest prefix of whole literal pieces.
    Keys,
    /// A directory or prefix: the root is the directory above it.
    Prefix,
}

/// Reads a place: `name:path`, `./x`, `../x`, `/x`, or `s3://bucket/x`.
pub(super) fn locate(text: &str, kind: PathKind, base_dir: &str, stores: &[&str]) -> Result<Located, SyntaxError> {
    if let Some(rest) = text.strip_prefix("./") {
        let path = rest.trim_start_matches("./");
        let offset = text.len() - path.len();
        refuse_dots(path, offset)?;
        return Ok(Located { store: StoreId::Directory(base_dir.to_owned()), path: path.to_owned(), offset });
    }
    if text.starts_with("../") || text.starts_with('/') {
        return locate_directory(text, kind, base_dir);
    }
    if let Some((scheme, rest)) = text.split_once("://")
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        let url = parse_url(scheme, rest)?;
        let store = match url.cloud {
            Cloud::Amazon => StoreId::Bucket(url.bucket.clone()),
            Cloud::Google => StoreId::GoogleBucket(url.bucket.clone()),
            Cloud::Azure if url.account.is_none() => StoreId::Container(url.bucket.clone()),
            Cloud::Azure => {
                let message = "a place cannot name a storage account";
                let hint = "write `az://container/path`, or add the container to `[stores]`";
                return Err(SyntaxError::hinted(0, message, hint));
            }
        };
        let path = rest[url.bucket.len()..].trim_start_matches('/');
        return Ok(Located { store, path: path.to_owned(), offset: text.len() - path.len() });
    }
    let known = match stores {
        [] => "no stores are declared; write `./…` for a directory, or add one to `[stores]`".to_owned(),
        stores => format!("stores are {}", quoted_list(stores)),
    };
    let named = text.split_once(':').and_then(|(name, path)| Some((StoreName::try_new(name)?, path)));
    let Some((name, path)) = named else {
        let message = format!("`{text}` is no place");
        return Err(SyntaxError::hinted(
            0,
            message,
            format!("write `store:path`, `./path` or `s3://bucket/path`; {known}"),
        ));
    };
    if !stores.contains(&name.as_str()) {
        let hint = match did_you_mean(name.as_str(), stores.iter().copied()) {
            Some(guess) => format!("did you mean `{guess}`? {known}"),
            None => known,
        };
        return Err(SyntaxError::hinted(0, format!("there is no store `{name}`"), hint));
    }
    let offset = text.len() - path.len();
    Ok(Located { store: StoreId::Named(name), path: path.to_owned(), offset })
}

fn locate_directory(text: &str, kind: PathKind, base_dir: &str) -> Result<Located, SyntaxError> {
    let literal_end = match kind {
        PathKind::Keys => text.find(['{', '}', '*']).unwrap_or(text.len()),
        PathKind::Prefix => text.trim_end_matches('/').len(),
    };
    let root_end = text[..literal_end].rfind('/').map_or(0, |slash| slash + 1);
    let path = &text[root_end..];
    refuse_dots(path, root_end)?;
    let root = absolute(&text[..root_end], base_dir);
    Ok(Located { store: StoreId::Directory(root), path: path.to_owned(), offset: root_end })
}

/// Refuses `.` and `..` behind the root of a directory: as keys they would lie, as paths they would leave it.
pub(super) fn refuse_dots(path: &str, offset: usize) -> Result<(), SyntaxError> {
    let mut at = offset;
    for piece in path.split('/') {
        if piece == ".." || piece == "." {
            return Err(SyntaxError::hinted(
                at,
                format!("`{piece}` is no name in a directory"),
                "write the path without it",
            ));
        }
        at += piece.len() + 1;
    }
    Ok(())
}

/// Resolves a path against a directory, by its text alone: links are not followed.
pub(super) fn absolute(path: &str, base_dir: &str) -> String {
    let joined = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{base_dir}/{path}"),
    };
    let mut pieces: Vec<&str> = Vec::new();
    for piece in joined.split('/') {
        match piece {
            "" | "." => {}
            ".." => {
                pieces.pop();
            }
            piece => pieces.push(piece),
        }
    }
    format!("/{}", pieces.join("/"))
}

/// Whose bucket a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cloud {
    /// S3 and servers that speak its protocol.
    Amazon,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Google,
}

#[derive(Debug)]
pub(super) struct BucketUrl {
    pub(super) cloud: Cloud,
    /// The bucket or container.
    pub(super) bucket: String,
    /// The storage account, where an Azure URL names it.
    pub(super) account: Option<String>,
    /// Empty, or with `/` at its end.
    pub(super) prefix: String,
}

/// Reads what stands behind `s3://`, `gs://`, `az://` or `abfss://`, and the `https://` of an Azure container.
pub(super) fn parse_url(scheme: &str, rest: &str) -> Result<BucketUrl, SyntaxError> {
    const AZURE_HOST: &str = ".blob.core.windows.net";
    let (first, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (cloud, account, bucket, path) = match scheme {
        "s3" => (Cloud::Amazon, None, first, path),
        "gs" => (Cloud::Google, None, first, path),
        "az" => (Cloud::Azure, None, first, path),
        "abfs" | "abfss" => {
            // `container@account.dfs.core.windows.net`, as Hadoop writes it.
            let named = first.split_once('@').and_then(|(name, host)| Some((name, host.split_once('.')?.0)));
            let Some((container, account)) = named else {
                let hint = "write `abfss://container@account.dfs.core.windows.net/path`, or `az://container/path`";
                return Err(SyntaxError::hinted(0, format!("`{first}` names no container and account"), hint));
            };
            (Cloud::Azure, Some(account.to_owned()), container, path)
        }
        "https" if first.ends_with(AZURE_HOST) => {
            let (container, path) = path.split_once('/').unwrap_or((path, ""));
            (Cloud::Azure, first.strip_suffix(AZURE_HOST).map(str::to_owned), container, path)
        }
        unknown => {
            let message = format!("unknown scheme `{unknown}://`");
            let hint = "write `s3://bucket/path`, `az://container/path`, `gs://bucket/path`, or a directory as `/path` or `./path`";
            return Err(SyntaxError::hinted(0, message, hint));
        }
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'$');
    if bucket.is_empty() || !bucket.bytes().all(plain) {
        let what = if cloud == Cloud::Azure { "container" } else { "bucket" };
        let message = match bucket {
            "" => format!("the URL names no {what}"),
            bucket => format!("`{bucket}` is no name of a {what}"),
        };
        let example = format!("for example `{scheme}://corporate-data/logs`");
        return Err(SyntaxError::hinted(scheme.len() + "://".len(), message, example));
    }
    let prefix = match path.trim_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    };
    Ok(BucketUrl { cloud, bucket: bucket.to_owned(), account, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, kind: PathKind) -> String {
        match locate(text, kind, "/etc/etl", &["lake", "old"]) {
            Ok(located) => {
                assert!(text[located.offset..].starts_with(&located.path), "{text}");
                format!("{:?} {}", located.store, located.path)
            }
            Err(error) => format!("{} | {}", error.message, error.hint.unwrap_or_default()),
        }
    }

    #[test]
    fn places_are_found_in_their_stores() {
        for (text, expected) in [
            ("lake:a/{x}", "Named(StoreName(\"lake\")) a/{x}"),
            ("lake:", "Named(StoreName(\"lake\")) "),
            ("./in/{x}.json", "Directory(\"/etc/etl\") in/{x}.json"),
            ("./{t:%H:%M}", "Directory(\"/etc/etl\") {t:%H:%M}"),
            ("../in/{x}.json", "Directory(\"/etc/in\") {x}.json"),
            ("../../../in/a{x}/b.json", "Directory(\"/in\") a{x}/b.json"),
            ("/a//b/../c/{x}/d", "Directory(\"/a/c\") {x}/d"),
            ("/{x}", "Directory(\"/\") {x}"),
            ("s3://bucket/a/{x}", "Bucket(\"bucket\") a/{x}"),
            ("az://container/a/{x}", "Container(\"container\") a/{x}"),
            ("gs://bucket/a/{x}", "GoogleBucket(\"bucket\") a/{x}"),
        ] {
            assert_eq!(place(text, PathKind::Keys), expected, "{text}");
        }
        assert_eq!(place("/var/baler/", PathKind::Prefix), "Directory(\"/var\") baler/");
        assert_eq!(place("./.baler", PathKind::Prefix), "Directory(\"/etc/etl\") .baler");
    }

    #[test]
    fn azure_is_named_as_its_tools_name_it() {
        let named = |scheme: &str, rest: &str| {
            let url = parse_url(scheme, rest).unwrap();
            (url.cloud, url.account.unwrap_or_default(), url.bucket, url.prefix)
        };
        let wanted = |account: &str| (Cloud::Azure, account.to_owned(), "raw".to_owned(), "a/b/".to_owned());
        assert_eq!(named("az", "raw/a/b"), wanted(""));
        assert_eq!(named("abfss", "raw@corp.dfs.core.windows.net/a/b/"), wanted("corp"));
        assert_eq!(named("https", "corp.blob.core.windows.net/raw/a/b"), wanted("corp"));
        assert!(parse_url("https", "example.com/raw").is_err());
    }

    #[test]
    fn anything_else_is_no_place() {
        for (text, expected) in [
            ("lak:a", "there is no store `lak` | did you mean `lake`? stores are `lake`, `old`"),
            ("warehouse:a", "there is no store `warehouse` | stores are `lake`, `old`"),
            ("a/b", "`a/b` is no place | write `store:path`"),
            (
                "oss://b/x",
                "unknown scheme `oss://` | write `s3://bucket/path`, `az://container/path`, `gs://bucket/path`",
            ),
            ("gs:///x", "the URL names no bucket"),
            ("abfss://c@a.dfs.core.windows.net/x", "a place cannot name a storage account | write `az://"),
            ("abfss://c/x", "`c` names no container and account"),
            ("az:///x", "the URL names no container"),
            ("http://b/x", "unknown scheme `http://`"),
            ("s3:///x", "the URL names no bucket"),
            ("s3://b{x}/y", "`b{x}` is no name of a bucket"),
            ("./a/../b", "`..` is no name in a directory"),
        ] {
            assert!(place(text, PathKind::Keys).starts_with(expected), "{text}: {}", place(text, PathKind::Keys));
        }
    }
}
