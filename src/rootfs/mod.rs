//! Layers and options to a root file system.
