//! Connections, deadlines, overload and the end.
