"""F2, pure decisions: a snapshot in, a plan out."""
