//! Bytes of a datagram to samples.
