# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The mark of what is in a run's log for the record alone."""

# For `extra` of a log call: the commands leave the line out of the console. A user's own script,
# which builds a Runner, shows it as any other.
DETAIL = {"detail": True}
