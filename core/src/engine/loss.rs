//! Why a lease was lost.

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// It could not be renewed in time.
    Expired,
    /// The backend says that it is not held any more: evicted, or its data lost.
    Gone,
    /// It was held for `max_hold`.
    MaxHold,
    /// Its client was closed.
    Closed,
}

impl Loss {
    /// The stable name that crosses every language border.
    pub const fn code(self) -> &'static str {
        match self {
            Loss::Expired => "expired",
            Loss::Gone => "gone",
            Loss::MaxHold => "max_hold",
            Loss::Closed => "closed",
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Loss::Expired => "it could not be renewed in time",
            Loss::Gone => "the backend says it is not held any more",
            Loss::MaxHold => "it was held for max_hold",
            Loss::Closed => "its client was closed",
        })
    }
}
