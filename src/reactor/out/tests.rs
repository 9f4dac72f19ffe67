//! What leaves an out buffer is what was put, in order, however the socket takes it.
