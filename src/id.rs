//! Identifiers. Ours are prefixed UUIDs of version 7; foreign ones are strings, whatever they look like.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Timestamp;

/// Makes identifiers from a given moment and given random bits, so that a simulation repeats exactly.
///
/// RFC 9562 section 5.7: 48 bits of Unix milliseconds, then version, variant and 74 random bits; ids
/// made later sort later.
pub fn uuid_at(at: Timestamp, random: u128) -> Uuid {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
    let bytes = random.to_be_bytes();
    let mut tail = [0u8; 10];
    tail.copy_from_slice(&bytes[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, shared.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }
    };
}

string_id! {
    /// The id that a remote system gave to a thing. Always a string: `0017` and `1E5` are ids.
    RemoteId
}
string_id! {
    /// The name of a connection, as in `[connection.NAME]`.
    ConnectionName
}
string_id! {
    /// The name of a route, as in `[route.NAME]`.
    RouteName
}
string_id! {
    /// Our stable id for a thing, `ord_…` or `itm_…`: the same thing on every connection.
    EntityId
}
string_id! {
    /// The id of one delivery, `dlv_…`. It doubles as the idempotency key towards a sink.
    DeliveryId
}
string_id! {
    /// What a state stream is keyed by: for items, stock and prices the SKU; for events the remote id.
    Key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ids_sort_later_and_repeat_exactly() {
        let early: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let late: Timestamp = "2026-11-22T00:00:01Z".parse().unwrap();
        assert!(uuid_at(early, u128::MAX) < uuid_at(late, 0));
        assert_eq!(uuid_at(early, 7), uuid_at(early, 7));
        assert_eq!(uuid_at(early, 7).get_version_num(), 7);
    }
}
