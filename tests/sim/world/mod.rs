//! The real workers over the real tables, with a model of the platform.
