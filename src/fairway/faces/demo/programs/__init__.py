"""What the demo runs: small programs that really compute, as jobs would. Each writes its result as JSON where it runs.

They hold themselves to a pace (``--pace`` seconds a step), so that a dozen of them share two cores without their course
depending on how fast those are.
"""
