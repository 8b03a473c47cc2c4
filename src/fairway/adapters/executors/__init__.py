"""Where attempts run: each module or package here meets ``engine.ports.Executor``."""
