//! What a lock does, told once and done by programs in every language.
//!
//! A scenario says which programs there are, what each is asked to do, and what must
//! come of it. The programs are shims: processes that do what a line of JSON tells
//! them, with the face of their language, and answer with a line of JSON. They know no
//! time and repeat nothing; all clocks, faults and assertions are here.
//!
//! Two rules hold after every grant of every scenario, without being written there:
//! its fence is larger than that of every grant before, and no earlier lease of the
//! lock is valid any more, wherever it is (unless somebody broke the lock).

mod actor;
mod answer;
mod grants;
mod language;
mod place;
mod play;
mod script;
mod stage;
mod step;

pub use language::{Language, Pair};
pub use place::Backend;
pub use play::play;
pub use script::{Scenario, read_all};
