"""The command line: ``main`` lists the commands, each group of them is a module.

Nothing heavy is imported at the top of these modules, so that help and completion are there at once.
"""
