"""The review in a browser: who may connect, the server, and its page."""
