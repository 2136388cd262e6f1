//! The `freeline` command.

fn main() {}
