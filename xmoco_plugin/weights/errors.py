# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The error of a checkpoint that is not used."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with the reason and the way out in its message."""


class NotFetchedError(CheckpointError):
    """A file that a server did not give.

    Attributes:
        status: Of HTTP, as 401; None where there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
