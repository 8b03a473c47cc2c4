"""The API of a control plane, under ``/v1``: JSON over a local socket. ``app`` builds it, ``server`` serves it.

Keys are stable: a key is never renamed or removed, new ones may come. ``*_ms`` are milliseconds (instants since the
Unix epoch), GPUs are numbers of devices, an absent value is null.
"""
