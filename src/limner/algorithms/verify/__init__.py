"""Verification while pictures are made (2501.13926): policies, the search that carries them out, traces of both."""
