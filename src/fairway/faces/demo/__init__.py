"""``fairway demo``: real programs on a control plane of their own, and proof that what should happen did."""
