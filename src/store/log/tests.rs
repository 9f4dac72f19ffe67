//! Tests of the log as a whole, over a disk in memory that remembers what was synced.

mod cleaning;
mod cost;
mod damage;
mod disk;
mod fixture;
mod generated;
mod groups;
mod kit;
mod model;
mod power_cut;
mod restart;
mod round_trip;
mod transactions;
