//! The `coracle` program: everything is in the library.
#![no_main]

coracle::entry!(coracle::cli::main);
