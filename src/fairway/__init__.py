"""Fairway: one allocator for all of an organisation's machine-learning compute.

This module imports nothing, so that `import fairway` and the SDK inside jobs (`fairway.job`) start at once.
"""

__version__ = "0.1.0"
