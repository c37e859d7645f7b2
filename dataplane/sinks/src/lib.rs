//! Where points end: one file per backend, a pure encode and then a send.
