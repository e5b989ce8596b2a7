//! What is true of a lock in every SQL server. The tests of each kind of server have this
//! with them, and say in their `dialect` what differs.

mod access;
mod faults;
mod guard;
mod leases;
mod limits;
mod table;
mod waiting;
