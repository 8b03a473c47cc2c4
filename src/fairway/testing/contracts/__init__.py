"""One suite per port: whatever meets the port passes it, on real components or in virtual time."""
