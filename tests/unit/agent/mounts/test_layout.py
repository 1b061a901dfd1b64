import pytest

from agent.mounts.layout import place
from pyswarm.errors import InvalidArgument
from pyswarm.model import FileReference


def test_a_secret_without_a_target_is_a_file_of_its_name_in_run_secrets():
    [file] = place((FileReference(id="s", name="password"),), secrets=True)
    assert (file.target, file.inside, file.shared) == (
        "/run/secrets/password",
        "shared/password",
        True,
    )


def test_an_absolute_target_is_a_mount_of_its_own():
    [file] = place((FileReference(name="key", target="/etc/tls/key.pem"),), secrets=True)
    assert (file.target, file.inside, file.shared) == ("/etc/tls/key.pem", "single/0", False)


def test_an_absolute_target_in_run_secrets_goes_through_the_shared_mount():
    [file] = place((FileReference(name="key", target="/run/secrets/a/b"),), secrets=True)
    assert (file.inside, file.shared) == ("shared/a/b", True)


def test_a_relative_config_is_a_file_in_the_root():
    [file] = place((FileReference(name="site", uid="33"),), secrets=False)
    assert (file.target, file.shared, file.uid) == ("/site", False, 33)


@pytest.mark.parametrize(
    "reference",
    [
        FileReference(name="x", target="../../etc/passwd"),
        FileReference(name="x", target="/"),
        FileReference(name="x", uid="root"),
    ],
)
def test_targets_that_lead_elsewhere_and_owners_without_number_are_refused(reference):
    with pytest.raises(InvalidArgument):
        place((reference,), secrets=True)
