//! Hosts in network namespaces.
