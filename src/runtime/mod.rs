//! From a bundle to a running process. Sees neither store nor registry nor cli.
