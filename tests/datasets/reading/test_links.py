"""Nothing outside the data root is followed by a link unless asked."""

from __future__ import annotations

import pytest

from osad_bench.datasets.base import DatasetError
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.inspect.verify import verify


@pytest.fixture
def outside(tmp_path, draw):
    """A folder beside the data root."""
    draw.image(tmp_path / "private" / "secret.png")
    return tmp_path / "private"


def test_a_linked_image_that_leads_out_is_refused_and_followed_when_asked(mvtec, outside, monkeypatch):
    link = mvtec / "mvtec_anomaly_detection" / "carpet" / "test" / "color" / "000.png"
    link.unlink()
    link.symlink_to(outside / "secret.png")
    dataset = open_dataset("mvtec/carpet", mvtec)
    sample = dataset.by_id["test/color/000.png"]
    for use in (lambda: dataset.read(sample), lambda: dataset.fingerprint):
        with pytest.raises(DatasetError, match="leads to .*secret.png, out of .*OSAD_BENCH_FOLLOW_LINKS=1"):
            use()
    monkeypatch.setenv("OSAD_BENCH_FOLLOW_LINKS", "1")
    assert open_dataset("mvtec/carpet", mvtec).read(sample).shape == (16, 24, 3)


def test_a_linked_folder_of_images_that_leads_out_is_refused(mvtec, outside):
    (mvtec / "mvtec_anomaly_detection" / "carpet" / "test" / "linked").symlink_to(outside)
    dataset = open_dataset("mvtec/carpet", mvtec)
    with pytest.raises(DatasetError, match="out of"):
        dataset.fingerprint  # noqa: B018


def test_verify_reports_the_link_and_reads_the_rest(mvtec, outside):
    link = mvtec / "mvtec_anomaly_detection" / "carpet" / "train" / "good" / "000.png"
    link.unlink()
    link.symlink_to(outside / "secret.png")
    report = verify(open_dataset("mvtec/carpet", mvtec))
    assert report.fingerprint is None
    assert [problem.message for problem in report.problems if problem.file == "train/good/000.png"]


def test_a_dangling_link_is_a_broken_file_not_a_crash(mvtec):
    link = mvtec / "mvtec_anomaly_detection" / "carpet" / "train" / "good" / "000.png"
    link.unlink()
    link.symlink_to("nowhere.png")
    report = verify(open_dataset("mvtec/carpet", mvtec))
    assert any(problem.file == "train/good/000.png" and "cannot read" in problem.message for problem in report.problems)


def test_a_linked_mask_that_leads_out_labels_nothing(aitex, outside):
    mask = aitex / "aitex" / "Mask_images" / "0001_002_00_mask.png"
    mask.rename(outside / mask.name)
    mask.symlink_to(outside / mask.name)
    with pytest.raises(DatasetError, match=r"0001_002_00_mask\.png.* out of .*OSAD_BENCH_FOLLOW_LINKS=1"):
        open_dataset("aitex", aitex).samples  # noqa: B018


def test_a_linked_label_file_that_leads_out_is_not_read(tmp_path, outside, draw):
    base = tmp_path / "data" / "headct"
    draw.image(base / "head_ct" / "head_ct" / "000.png")
    (outside / "labels.csv").write_text("id, hemorrhage\n0,1\n")
    (base / "labels.csv").symlink_to(outside / "labels.csv")
    with pytest.raises(DatasetError, match="out of"):
        open_dataset("headct", tmp_path / "data").samples  # noqa: B018


def test_a_linked_download_is_refused_and_followed_when_asked(mvtec, tmp_path, monkeypatch):
    root = tmp_path / "other"
    root.mkdir()
    (root / "mvtec").symlink_to(mvtec / "mvtec_anomaly_detection")
    with pytest.raises(DatasetError, match="is a link to .* --data-root, or set OSAD_BENCH_FOLLOW_LINKS=1"):
        open_dataset("mvtec/carpet", root)
    monkeypatch.setenv("OSAD_BENCH_FOLLOW_LINKS", "1")
    assert len(open_dataset("mvtec/carpet", root).samples) == 11


def test_a_linked_folder_within_the_download_that_holds_all_of_it_is_refused(mvtec, tmp_path):
    root = tmp_path / "other" / "mvtec"
    root.mkdir(parents=True)
    (root / "inner").symlink_to(mvtec / "mvtec_anomaly_detection")
    with pytest.raises(DatasetError, match="a link in .* leads to .*carpet, out of it"):
        open_dataset("mvtec/carpet", tmp_path / "other").samples  # noqa: B018


def test_links_within_the_data_set_are_followed(mvtec):
    good = mvtec / "mvtec_anomaly_detection" / "carpet" / "train" / "good"
    (good / "link.png").symlink_to(good / "000.png")
    dataset = open_dataset("mvtec/carpet", mvtec)
    assert (
        dataset.read(dataset.by_id["train/good/link.png"]) == dataset.read(dataset.by_id["train/good/000.png"])
    ).all()


def test_a_loop_of_links_ends(mvtec):
    base = mvtec / "mvtec_anomaly_detection"
    (base / "again").symlink_to(base)
    with pytest.raises(DatasetError, match="no folder wood"):
        open_dataset("mvtec/wood", mvtec).samples  # noqa: B018
