# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .. import tiny_runner


def run(folder, path) -> list[str]:
    """Everything that the log says, line by line."""
    runner = tiny_runner.build(folder, hooks=[dict(type="OpeningHook", path=str(path))])
    runner.train()
    runner.call_hook("before_run")  # as a test after the training does
    return next(folder.glob("*/*.log")).read_text().splitlines()


def test_the_log_holds_the_text_once_before_anything_that_the_run_says(tmp_path):
    (tmp_path / "opening.txt").write_text("430 images, ε = 0.1\n| a | table |\n", "utf-8")
    lines = run(tmp_path, tmp_path / "opening.txt")
    assert [lines.count(line) for line in ("430 images, ε = 0.1", "| a | table |")] == [1, 1]
    first = next(i for i, line in enumerate(lines) if "Checkpoints will be saved" in line)
    assert lines.index("| a | table |") < first


def test_a_missing_file_and_a_folder_are_named_and_the_run_goes_on(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        folder = tmp_path / f"run-{path.name}"
        folder.mkdir()
        lines = run(folder, path)
        (warning,) = [line for line in lines if "cannot be opened with" in line]
        assert f"{path}: " in warning
        assert "WARNING" in warning
        assert (folder / "epoch_2.pth").exists()
