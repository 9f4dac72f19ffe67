//! The chunk log and the tables, on redb: everything synchronous behind the writer thread.
//!
//! Windows, threads, files and directories are not here, and neither is the decision what to do about an error.
