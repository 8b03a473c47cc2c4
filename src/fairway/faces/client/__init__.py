"""Talks to a control plane: ``Client`` has a method for each path of the API and raises its errors again."""

from fairway.faces.client.client import Client, Target

__all__ = ["Client", "Target"]
