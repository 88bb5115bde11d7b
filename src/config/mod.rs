//! Where things are: the data root and the run-time directory, registry configuration, credentials.
//! Parsing (`\&str` in) is apart from loading (files in).
