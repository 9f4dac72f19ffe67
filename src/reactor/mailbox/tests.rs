//! The mailboxes under threads, and under loom every order of posting and falling asleep.
