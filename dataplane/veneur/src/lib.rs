//! The data-plane executable: sockets, clock, tasks, roles and the admin port.
