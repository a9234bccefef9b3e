# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Changed files for what reads files: `make fuzz`, and in the tests a few with a fixed seed."""
