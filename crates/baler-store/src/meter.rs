//! Counts of requests and bytes, as a store really sent them, retries included.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

macro_rules! meter {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// Counters of one store, shared by all who use it.
        #[derive(Debug, Default)]
        pub struct Meter { $($(#[$doc])* pub $field: AtomicU64),* }

        /// What a [`Meter`] showed at one moment, or the difference of two moments.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Metered { $($(#[$doc])* pub $field: u64),* }

        impl Meter {
            /// The counts at this moment.
            pub fn read(&self) -> Metered {
                Metered { $($field: self.$field.load(Ordering::Relaxed)),* }
            }
        }

        impl Metered {
            /// What was added since `earlier`.
            #[must_use]
            pub fn since(self, earlier: Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field)),* }
            }

            /// The sum of two.
            #[must_use]
            pub fn plus(self, other: Self) -> Self {
                Self { $($field: self.$field + other.$field),* }
            }
        }
    };
}

meter! {
    /// LIST requests (objects, uploads, parts).
    list,
    /// GET requests.
    get,
    /// PUT and POST requests that carry bytes or begin and end uploads.
    put,
    /// COPY requests, of whole objects and of parts.
    copy,
    /// HEAD requests.
    head,
    /// DELETE requests.
    delete,
    /// Requests that were sent again after a failure; they are counted above too.
    retries,
    /// Bytes that the store copied by itself.
    bytes_copied,
    /// Object bytes that this machine received.
    bytes_read,
    /// Object bytes that this machine sent.
    bytes_written,
}

impl Meter {
    /// Adds to one counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
