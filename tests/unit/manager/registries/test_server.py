"""Logins and digests as the leader's API answers them, with a registry that is not there."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from manager.control.services.logins import forget_login, keep_login
from manager.registries.server import RegistryServer
from manager.state.driver import Store
from pyswarm.api.v1 import control_pb2, registry_pb2
from pyswarm.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from pyswarm.model import Platform, RegistryCredential
from pyswarm.registry.client import Access
from pyswarm.registry.logins import Login
from pyswarm.registry.reference import Reference
from pyswarm.testing.store import instant_store

DIGEST = "sha256:" + "a" * 64
AMD = Platform(os="linux", architecture="amd64")


class FakeRegistry:
    """Knows one login; `away` makes it silent. `seen` has the users that it was shown."""

    def __init__(self) -> None:
        self.password, self.away, self.seen = "right", False, list[str]()

    async def login(self, server: str, login: Login) -> None:
        self._look(login)
        if login.password != self.password:
            raise PermissionDenied("incorrect username or password")

    async def resolve(
        self, reference: Reference, access: Access
    ) -> tuple[str, tuple[Platform, ...]]:
        self._look(access.login)
        return DIGEST, (AMD,)

    def _look(self, login: Login | None) -> None:
        if self.away:
            raise Unavailable("the registry does not answer")
        self.seen.append(login.user if login else "nobody")


class Stage:
    """A leader with its store."""

    def __init__(self) -> None:
        self.registry: Any = FakeRegistry()
        self.store: Store = instant_store(lambda: 1000.0)
        numbers = itertools.count(1)
        self.server = RegistryServer(
            self.store, self.registry, lambda: f"id{next(numbers)}", lambda: 1000.0
        )

    async def login(self, user: str, password: str = "right", server: str = "r:5000") -> None:
        request = control_pb2.RegistryLogin(server=server, user=user, password=password)
        await self.server.Login(request, None)  # type: ignore[arg-type]

    async def resolve(self, image: str, **fields: Any) -> registry_pb2.ResolvedImage:
        request = registry_pb2.ResolveImageRequest(image=image, **fields)
        return await self.server.ResolveImage(request, None)  # type: ignore[arg-type]

    @property
    def stored(self) -> list[tuple[str, str, str]]:
        found = self.store.view.list(RegistryCredential)
        return [(each.server, each.user, each.password) for each in found]


def run(story: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        await story(Stage())

    asyncio.run(main())


def test_a_login_is_checked_before_it_is_kept() -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(PermissionDenied):
            await stage.login("ann", "wrong")
        assert not stage.stored
        await stage.login("ann", server="https://index.docker.io/v1/")
        assert stage.stored == [("docker.io", "ann", "right")]

    run(story)


def test_a_second_login_takes_the_place_of_the_first() -> None:
    async def story(stage: Stage) -> None:
        await stage.login("ann")
        stage.registry.password = "new"
        await stage.login("ann", "new")
        assert stage.stored == [("r:5000", "ann", "new")]
        await stage.server.Logout(control_pb2.Reference(ref="r:5000"), None)  # type: ignore[arg-type]
        assert not stage.stored
        with pytest.raises(NotFound, match="not logged in to r:5000"):
            await stage.server.Logout(control_pb2.Reference(ref="r:5000"), None)  # type: ignore[arg-type]

    run(story)


def test_no_answer_has_a_password_in_it() -> None:
    async def story(stage: Stage) -> None:
        await stage.login("ann")
        listed = await stage.server.ListCredentials(control_pb2.Empty(), None)  # type: ignore[arg-type]
        assert [each.user for each in listed.credentials] == ["ann"]
        assert b"right" not in listed.SerializeToString()

    run(story)


@pytest.mark.parametrize("user", ["", "a:b", "x" * 20_000])
def test_a_user_that_no_registry_can_have_is_refused(user: str) -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(InvalidArgument):
            await stage.login(user)

    run(story)


def test_a_tag_becomes_a_digest_with_the_login_that_counts() -> None:
    async def story(stage: Stage) -> None:
        await stage.login("ann")
        found = await stage.resolve("r:5000/web:1")
        assert found.image == f"r:5000/web:1@{DIGEST}"
        assert [each.architecture for each in found.platforms] == ["amd64"]
        await stage.resolve("web")
        mine = control_pb2.RegistryLogin(server="r:5000", user="bob", password="x")
        await stage.resolve("r:5000/web:1", login=mine)
        assert stage.registry.seen == ["ann", "ann", "nobody", "bob"]
        pinned = await stage.resolve(f"web:1@{DIGEST}")
        assert pinned.image == f"web:1@{DIGEST}"

    run(story)


def test_a_registry_that_is_away_leaves_the_tag_and_says_so() -> None:
    async def story(stage: Stage) -> None:
        stage.registry.away = True
        found = await stage.resolve("web")
        assert (found.image, found.problem) == ("web:latest", "the registry does not answer")

    run(story)


def test_what_is_no_image_is_refused() -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(InvalidArgument):
            await stage.resolve("No Image")

    run(story)


def test_a_services_own_login_comes_and_goes_with_it() -> None:
    async def story(stage: Stage) -> None:
        login = control_pb2.RegistryLogin(server="r:5000", user="web", password="right")
        await stage.login("ann")
        await stage.store.update(lambda tx: keep_login(tx, "s1", "fresh", login, 1.0))
        await stage.store.update(
            lambda tx: keep_login(tx, "s1", "later", control_pb2.RegistryLogin(), 1.0)
        )
        await stage.resolve("r:5000/web:1", service_id="s1")
        assert stage.registry.seen[-1] == "web"
        await stage.store.update(lambda tx: forget_login(tx, "s1"))
        assert [user for _, user, _ in stage.stored] == ["ann"]

    run(story)
