//! Tar streams to directories: safe unpack, decompression, removal.
