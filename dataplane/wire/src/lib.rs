//! Partials and points to bytes and back: the original's protobuf and our extension fields.
