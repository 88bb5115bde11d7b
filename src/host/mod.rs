//! What this machine allows. Probes find out by doing, in a forked child, never by sniffing names.
