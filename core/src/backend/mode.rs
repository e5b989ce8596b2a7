//! In which ways a lock is held.

use crate::error::{Error, Kind};

/// How a lease shares its lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// One holder.
    #[default]
    Exclusive,
    /// Any number of holders that all share it, and no exclusive one beside them.
    Shared,
    /// As many holders as there are permits.
    Counted {
        /// How many there are. All who use the name say the same number.
        permits: u32,
    },
}

impl Mode {
    /// Its name, the same in every language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Counted { .. } => "counted",
        }
    }

    /// Whether others can hold the lock, too.
    pub fn is_shared(self) -> bool {
        self != Self::Exclusive
    }

    /// An error with the reason for all modes but the exclusive one.
    pub(crate) fn refuse_unless_exclusive(self, reason: &str) -> Result<(), Error> {
        let asked = match self {
            Self::Exclusive => return Ok(()),
            Self::Shared => "shared locks",
            Self::Counted { .. } => "locks with permits",
        };
        Err(Error::new(Kind::Unsupported, format!("{asked} are not to be had here: {reason}")))
    }

    /// As a backend stores it: 0 exclusive, -1 shared, else the number of permits.
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Exclusive => 0,
            Self::Shared => -1,
            Self::Counted { permits } => permits.into(),
        }
    }

    /// The same back.
    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            0 => Self::Exclusive,
            ..0 => Self::Shared,
            1.. => Self::Counted { permits: u32::try_from(code).unwrap_or(u32::MAX) },
        }
    }

    /// Whether one who shares a lock in this way can have that slot.
    #[cfg(feature = "redis")]
    pub(crate) fn has_slot(self, slot: i64) -> bool {
        match self {
            Self::Exclusive => false,
            Self::Shared => slot == 0,
            Self::Counted { permits } => (0..i64::from(permits)).contains(&slot),
        }
    }

    /// Whether a name that is used in this way can be used in the other, be it later.
    pub fn goes_with(self, other: Self) -> bool {
        let is_counted = |mode| matches!(mode, Self::Counted { .. });
        self == other || !is_counted(self) && !is_counted(other)
    }
}
