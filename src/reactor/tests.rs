//! The loop against real sockets on the loopback, with a handler that echoes.
