//! HTTP client for OCI distribution registries. Never touches the store.
