"""F4, the simulated world: virtual time over traces, with seeded faults."""
