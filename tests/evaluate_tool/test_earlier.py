# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What lies in the folder of an evaluation: it is not lost, and whatever it holds is a sentence."""

import json

import pytest

from xmoco_plugin.cli.evaluate import refuse_other

FACTS = {"sha256": "0", "data": "flowers", "settings": {"protocol": ["knn"]}}


@pytest.mark.parametrize("found", [[], 1, None, {"settings": [1]}])
def test_what_is_no_evaluation_is_named(tmp_path, found):
    (tmp_path / "evaluation.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"evaluation\.json is no evaluation\. Name another"):
        refuse_other(tmp_path, FACTS)


def test_a_file_of_any_size_is_not_read(tmp_path):
    with open(tmp_path / "evaluation.json", "wb") as file:
        file.truncate(60 << 30)
    with pytest.raises(ValueError, match=r"evaluation\.json: 64\.4 GB, the limit is .*--out"):
        refuse_other(tmp_path, FACTS)


def test_other_settings_are_named_and_printable_and_equal_or_cut_ones_are_no_loss(tmp_path):
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(FACTS | {"data": "\x1b[2J\nx"}))
    with pytest.raises(ValueError, match=r"data was \\x1b\[2J\\nx, now flowers"):
        refuse_other(tmp_path, FACTS)
    file.write_text(json.dumps(FACTS))
    refuse_other(tmp_path, FACTS)
    file.write_text(json.dumps(FACTS)[:-9])
    refuse_other(tmp_path, FACTS)
