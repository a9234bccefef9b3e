# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every file that the project writes, and how it stays whole.

A call that writes stands here with its file, or the walk of test_written.py fails.
"""

# Opened in place on purpose: file, function and why nothing of it can be read half.
IN_PLACE = {
    ("checkpoint.py", "write_atomic"): "the temporary file that is renamed",
    ("json_lines.py", "append_json_line"): "a line a write; half a line is taken back or passed by",
    ("pretraining/scan.py", "scan_images"): "a line an image; half a line is looked at anew",
    ("data/pack_writer.py", "_grow"): "grows in OUT.partial; a record has its bytes' checksum",
    ("data/pack_writer.py", "_recover"): "the same, cut back to what is whole",
    ("data/shards/tar.py", "make_tar"): "in memory",
    ("data/shards/cache.py", "path"): "an empty file to lock",
    ("teachers/stored.py", "_note"): "the head, one block at a time; rows beyond it are made anew",
    ("pretraining/archive_folder.py", "write"): "in unpacked/*.partial, renamed when it is whole",
    ("teachers/stored.py", "_begin"): "the temporary file of write_atomic",
    (
        "weights/download.py",
        "_download",
    ): "under a name of its own, renamed after its hash is right",
    ("_host_loading.py", "load_from_ceph"): "in a temporary folder of the process",
    ("cli/pack_images.py", "unpack"): "an image for the user; a name that exists is refused",
    ("cli/doctor.py", "quietly"): "the null device",
}
# What a run of the Runner opens in place in its folder: logs, which are read line by line.
LOGS = (
    r"\d{8}_\d{6}/\d{8}_\d{6}\.log",
    r"\d{8}_\d{6}/vis_data/\d{8}_\d{6}\.json",
    r"\d{8}_\d{6}/vis_data/scalars\.json",
    r"\d{8}_\d{6}/vis_data/config\.py",
    r"(health|metrics|weights)\.jsonl",
)
