# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.


class TeacherError(ValueError):
    """A teacher, or what was stored of one, that cannot be used; the message says why."""
