"""From files to image records: found, read once, hashed, decoded in full, compared.

Nothing here writes to a source folder or knows of a catalogue; what was found comes out
as frozen values, also where it is a problem.
"""
