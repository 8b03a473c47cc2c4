"""Workloads to simulate: recorded traces in their original formats, and generated ones."""

from fairway.sim.traces.generate import generate
from fairway.sim.traces.read import FORMATS, read
from fairway.sim.traces.trace import Estimates, Trace

__all__ = ["FORMATS", "Estimates", "Trace", "generate", "read"]
