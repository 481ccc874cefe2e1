"""What will an iteration take, cost and burn elsewhere: models fitted online, from this job's own samples.

numpy alone: no file, no clock, no process, and nothing that is started here. Each model has a page's worth of formula in
``docs/models.md``, with symbols, units, sources and measured errors; here each formula names its source.

A model answers with an `Estimate` (a value, its standard error, and whether it was learnt or declared) or with a `Refusal`, which
says what it would need. Nothing is predicted from fewer samples than a model asks for, and nothing that was not measured
counts as 0.
"""
