"""Why a patch could not be applied; raised by all three kinds of patch, turned into a 4xx Status by the PATCH handler."""


class PatchError(ValueError):
    """The patch is malformed or does not fit the document."""


class TestFailed(PatchError):
    """A JSON Patch `test` operation found another value."""

    __test__ = False
    """Not a test case, whatever pytest thinks of the name."""
