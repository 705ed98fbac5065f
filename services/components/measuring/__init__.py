"""Measures nuclei and chromosomes from label arrays: pure functions, one module per family of quantities.

All arrays have axes (z, y, x); all lengths go in as nanometres and come out as micrometres. Definitions, formulas,
sources and measured errors stand in docs/measuring.md.
"""
