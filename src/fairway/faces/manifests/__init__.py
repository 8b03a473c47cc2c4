"""YAML manifests: what people write, checked with the path of every error, and turned into the vocabulary.

``read`` makes manifests (``schema``) of texts, ``convert`` makes facts of manifests.
"""
