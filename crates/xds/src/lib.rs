//! The delta subscription protocol, client and server, over any resource type.
