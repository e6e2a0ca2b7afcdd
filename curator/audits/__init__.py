"""Promise error, not probability: the mathematics of the certified policy.

Pure functions on arrays, without a database or a screen. A frame is frozen, an audit of it
planned before any of its labels is seen, drawn at random, answered blind, and tested once.
`docs/certificates.md` states the claim, its assumptions and its proof.
"""
