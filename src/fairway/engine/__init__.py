"""F3, the loop: ports, inbox, reconcile, recovery, projection, read model."""
