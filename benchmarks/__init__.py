"""What FlexMPI claims about its speed, measured: one runnable module a claim.

``python -m benchmarks.overhead`` prints a table; ``--json FILE`` keeps the figures; ``python -m benchmarks.page`` makes
docs/benchmarks.md of those in ``benchmarks/results``.
"""
