"""Paths in an image lead nowhere outside it."""

import os

import pytest

from agent.runtime.rootfs import CopyUp, Root


@pytest.fixture
def root(tmp_path):
    (tmp_path / "image" / "etc").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    descriptor = os.open(tmp_path / "image", os.O_RDONLY | os.O_DIRECTORY)
    yield Root(descriptor)
    os.close(descriptor)


def test_links_lead_to_the_images_own_files(root, tmp_path):
    image = tmp_path / "image"
    (image / "real").write_text("inside")
    (image / "etc/passwd").symlink_to("/real")
    (image / "etc/group").symlink_to("../../outside/secret")
    (image / "etc/absolute").symlink_to(tmp_path / "outside/secret")
    assert root.read_text("/etc/passwd") == "inside"
    assert root.read_text("/etc/group") == ""
    assert root.read_text("/etc/absolute") == ""
    assert root.read_text("/none/at/all") == ""


def test_a_fifo_in_the_place_of_a_file_does_not_hang(root, tmp_path):
    os.mkfifo(tmp_path / "image/etc/passwd")
    assert root.read_text("/etc/passwd") == ""


def test_directories_are_made_inside(root, tmp_path):
    (tmp_path / "image/link").symlink_to("/etc")
    root.make_directory("/link/deep/er", os.getuid(), os.getgid())
    assert (tmp_path / "image/etc/deep/er").is_dir()
    root.make_directory("/link/deep/er", os.getuid(), os.getgid())
    (tmp_path / "image/away").symlink_to("../outside")
    with pytest.raises(FileExistsError):
        root.make_directory("/away/x", os.getuid(), os.getgid())
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


def test_a_volume_is_filled_once_with_modes_and_links(root, tmp_path):
    data = tmp_path / "image/data"
    data.mkdir(mode=0o710)
    (data / "file").write_text("x")
    (data / "link").symlink_to("/etc/shadow")
    volume = tmp_path / "volume/_data"
    volume.mkdir(parents=True)
    root.copy_up(CopyUp("/data", volume))
    assert os.readlink(volume / "link") == "/etc/shadow"
    assert volume.stat().st_mode & 0o777 == 0o710
    (data / "file").write_text("newer")
    root.copy_up(CopyUp("/data", volume))
    assert (volume / "file").read_text() == "x"
    root.copy_up(CopyUp("/not/there", tmp_path))
