//! What can go wrong between Baler and a store.

use baler_model::{Key, Kind};

/// An error of a store. Each names the store and, where there is one, the key.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("`{store}` has no object `{key}`")]
    NotFound {
        /// Store.
        store: String,
        /// Key.
        key: Key,
    },
    /// The object is there in another version than planned.
    #[error("`{key}` in `{store}` changed: version {planned} was planned, {found} is there")]
    Changed {
        /// Store.
        store: String,
        /// Key.
        key: Key,
        /// Etag that was planned.
        planned: String,
        /// Etag that was found.
        found: String,
    },
    /// The store refuses: no permission, bad or expired credentials.
    #[error("`{store}` refuses to {doing}: {detail}")]
    Denied {
        /// Store.
        store: String,
        /// What was tried, with its key.
        doing: String,
        /// The store's words and request id.
        detail: String,
        /// What a user can do about it.
        hint: Option<String>,
    },
    /// Retries are exhausted: throttled, reset, timed out, 5xx.
    #[error("`{store}` failed to {doing} after {tries} tries: {detail}")]
    Exhausted {
        /// Store.
        store: String,
        /// What was tried, with its key.
        doing: String,
        /// How often it was tried.
        tries: u32,
        /// The last answer, with its request id.
        detail: String,
    },
    /// The store cannot do what is asked of it.
    #[error("`{store}` cannot {doing}: {detail}")]
    Unsupported {
        /// Store.
        store: String,
        /// What was asked.
        doing: String,
        /// Why not.
        detail: String,
        /// What a user can do about it.
        hint: Option<String>,
    },
    /// No space left, or a file system mounted read-only.
    #[error("`{store}` has no room to {doing}: {detail}")]
    NoRoom {
        /// Store.
        store: String,
        /// What was tried, with its path.
        doing: String,
        /// The system's words.
        detail: String,
    },
    /// Any other answer that a retry would not change.
    #[error("`{store}` failed to {doing}: {detail}")]
    Failed {
        /// Store.
        store: String,
        /// What was tried, with its key.
        doing: String,
        /// The store's words, with its request id.
        detail: String,
    },
    /// The run was cancelled while the call waited.
    #[error("interrupted while waiting for `{store}`")]
    Cancelled {
        /// Store.
        store: String,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::Changed { .. } => Kind::Data,
            Self::Denied { .. } | Self::Unsupported { .. } => Kind::Invalid,
            Self::Exhausted { .. } | Self::NoRoom { .. } | Self::Cancelled { .. } => Kind::Transient,
            Self::Failed { .. } => Kind::Invalid,
        }
    }

    /// What a user can do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { hint, .. } | Self::Unsupported { hint, .. } => hint.clone(),
            Self::NoRoom { .. } => {
                Some("free some space (or remount what is read-only) or choose another target, then run again".into())
            }
            Self::Exhausted { .. } => Some("once it answers, `baler run` goes on where it stopped".into()),
            Self::NotFound { .. } | Self::Changed { .. } | Self::Failed { .. } | Self::Cancelled { .. } => None,
        }
    }
}
