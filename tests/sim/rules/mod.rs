//! The rules alone: no database, no workers.
