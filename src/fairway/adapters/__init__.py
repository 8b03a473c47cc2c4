"""F4, the real worlds: executors, providers, signals, scalables and stores."""
