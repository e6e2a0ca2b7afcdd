"""Audits and certificates: a guaranteed error rate instead of a probability.

`audit` plans an audit of what rounds promote and opens it, `answers` takes labels from a file,
`certify` tests the answers and issues the certificate. `frame`, `forecast`, `plan`, `planner`,
`outlook`, `draw` and `test` are pure functions on arrays, which the simulation uses, too.
`docs/certificates.md` has the design, its assumptions and the proof.
"""
