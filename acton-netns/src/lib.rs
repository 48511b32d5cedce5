//! Network namespaces held by threads, and veth pairs between them, for labs and tests.
