"""F5, what people and programs talk to: command line, API, web, client."""
