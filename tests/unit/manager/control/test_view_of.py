"""What leaves the managers about the cluster."""

from dataclasses import replace

from manager.control import view_of
from pyswarm.model import Cluster
from pyswarm.testing.trust import Trust
from pyswarm.wire import encode


def test_no_key_and_no_token_is_public_also_while_the_root_is_rotated():
    trust = Trust()
    trust.begin_rotation()
    root = trust.root
    cluster = Cluster(id="swarm1", root_ca=root)
    public = view_of.public(cluster)
    secrets = (root.key_pem, root.rotation.key_pem, root.worker_token, root.manager_token)
    for secret in secrets:
        assert secret
        text = secret if isinstance(secret, bytes) else secret.encode()
        assert text in encode(cluster)
        assert text not in encode(public)
    blank = replace(
        root,
        key_pem=b"",
        worker_token="",
        manager_token="",
        rotation=replace(root.rotation, key_pem=b""),
    )
    assert public.root_ca == blank
