"""F1, the mutable numbers: columns, one `apply` per fact, snapshots, invariants."""
