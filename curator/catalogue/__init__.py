"""All SQL of curator: the one truth about images and labels.

Every function here is a verb and one transaction (or says that it is a series of short
ones). What goes in and out are frozen values and NumPy arrays, never rows of the ORM.
"""
