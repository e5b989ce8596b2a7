//! The rig that the other tests stand on: servers, faults, the proxy.

mod etcd;
mod proxy;
mod redis;
mod zookeeper;
