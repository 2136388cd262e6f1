//! Identifiers: opaque text, one type per thing so that two can never be mixed up.
//!
//! Decisions copy them all the time, so copies share their text.

use std::fmt;
use std::sync::Arc;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text inside.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

text_id!(
    /// A support line of the platform (`line_id`).
    ///
    /// Never checked to be an RFC 4122 UUID: `connect-api.md` 1.4 has ids with any version nibble.
    LineId
);
text_id!(
    /// A person of the platform, client user or specialist (`user_id`, `author_id`).
    UserId
);
text_id!(
    /// One conversation of one user on one line (`treatment_id`).
    TreatmentId
);
text_id!(
    /// A manager, by the client's own key.
    ManagerId
);
text_id!(
    /// A counterparty, by the client's own key.
    CounterpartyId
);
text_id!(
    /// A payment, by our own id (UUID v7 text).
    PaymentId
);
text_id!(
    /// Something sent into a chat, by our own id (UUID v7 text).
    OutgoingId
);
