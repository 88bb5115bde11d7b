//! The truth on disk: blobs, layers, images and containers.
