"""Where images lie: local folders, object stores and web servers, read in one way.

A place is named by bytes: an absolute path, or a URL of one of `addresses.SCHEMES`. Everything that
opens an image file goes through `files.files_of`, and nothing here ever writes to a source.
"""
