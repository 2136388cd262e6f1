//! The program as a process: killed at any moment, stopped in good order.

mod audit;
mod kill;
mod stop;
mod town;
