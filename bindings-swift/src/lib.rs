//! The native part of the Swift package. Types are converted here, and calls are
//! begun; what a lock does is in the core, and how it looks to Swift in
//! `Sources/Leasehold`. Nothing that is exported can panic: Swift would end.

mod calls;
mod client;
mod election;
mod lease;
mod values;

uniffi::setup_scaffolding!("LeaseholdCore");
