"""Images: from a registry into containerd's content store, unpacked as snapshots.

containerd collects what nothing refers to. So a pull works under a lease, and what stays is a
chain from the image's record: target -> (index ->) manifest -> layers and configuration -> the
topmost snapshot. The arrows are labels `containerd.io/gc.ref.*`, set before the lease goes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import platform
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from agent.runtime import schema
from agent.runtime.client import Containerd
from agent.runtime.content import ContentStore
from agent.runtime.locks import to_the_end
from pyswarm.errors import AlreadyExists, InvalidArgument, NotFound, SwarmError, Unavailable
from pyswarm.registry import documents
from pyswarm.registry.client import MANIFEST_BYTES_MAX, Access, Registry
from pyswarm.registry.documents import Descriptor, ImageConfig, Manifest
from pyswarm.registry.logins import Login
from pyswarm.registry.reference import Reference, parse

__all__ = ["Image", "ImageConfig", "Images"]

log = logging.getLogger(__name__)

UNPACK_TIMEOUT_SECONDS: Final = 1800.0
LEASE_SECONDS: Final = 24 * 3600.0
"""When a lease ends whose agent died in a pull: what that pull fetched is collected then."""

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
USED_LABEL: Final = "pyswarm.used-at"
"""On an image's record: when it was last needed, in seconds since the epoch."""
_REF: Final = "containerd.io/gc.ref"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that is here and unpacked.

    `name` is the full reference, `digest` that of the index or manifest it names, `chain_id` the
    snapshot to prepare a container's file system from (empty for an image without layers).
    """

    name: str
    digest: str
    chain_id: str
    config: ImageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pull:
    """A pull under way: what it is for, and the lease that holds what it has so far."""

    reference: Reference
    lease: str
    access: Access

    @property
    def name(self) -> str:
        return str(self.reference)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The manifest that is for this machine."""

    digest: str
    parsed: Manifest


@dataclass(frozen=True, slots=True)
class _Pulled:
    """What a pull has brought; `begun` is its place in the order of requests and pulls."""

    begun: int
    reference: Reference
    login: Login | None
    image: Image


class _Turn(asyncio.Lock):
    """Who has it works on an image. `pulled` is for those who wait for it meanwhile."""

    pulled: _Pulled | None = None


class Images:
    """The images of one containerd namespace. References are as users write them.

    Raises InvalidArgument for a reference that is none and for an image that cannot run here,
    NotFound for one that its registry lacks, Unavailable where registry or containerd are away.
    """

    def __init__(
        self, containerd: Containerd, registry: Registry, *, snapshotter: str = "overlayfs"
    ) -> None:
        self.snapshotter = snapshotter
        self._containerd = containerd
        self._registry = registry
        self._content = ContentStore(containerd)
        self._architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
        # By reference, digest and chain id; a lock lives as long as somebody holds it.
        self._locks: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        self._order = itertools.count()

    async def pull(self, reference: str, login: Login | None = None) -> Image:
        """Have the image here, unpacked; the registry is shown the login.

        A tag is asked for at its registry each time, for it may have moved; when the registry is
        away, the image that is here serves. A digest that is here needs no registry. Of many who
        wait for the same, one pulls for all.
        """
        parsed, asked = parse(reference), next(self._order)
        turn = self._lock(parsed.digest or str(parsed))
        async with turn:
            done = turn.pulled
            if done and done.begun > asked and (done.reference, done.login) == (parsed, login):
                return done.image
            begun = next(self._order)
            try:
                async with self._lease() as lease:
                    access = Access(login)
                    image = await self._pull(_Pull(reference=parsed, lease=lease, access=access))
                turn.pulled = _Pulled(begun, parsed, login, image)
                return image
            except Unavailable as failure:
                here = await self.get(reference)
                if here is None:
                    raise
                log.warning("%s: using image %s as it is here", failure.message, here.name)
                return here

    async def get(self, reference: str) -> Image | None:
        """The image, when it is here and unpacked; a digest is found under any name."""
        parsed = parse(reference)
        name, digest = str(parsed), parsed.digest
        try:
            if digest:
                wanted = f"target.digest=={digest}"
                if not (await self._containerd.images.List(filters=[wanted])).images:
                    return None
            else:
                record = (await self._containerd.images.Get(name=name)).image
                digest = record.target.digest
            return await self._unpacked(name, digest)
        except NotFound:
            return None

    async def _unpacked(self, name: str, digest: str) -> Image:
        """From what is here alone; raises NotFound where a part of it is missing."""
        _, diff_ids, config = await self._described(name, digest)
        chain = documents.chain_ids(diff_ids)
        top = chain[-1] if chain else ""
        if top:
            await self._containerd.snapshots.Stat(snapshotter=self.snapshotter, key=top)
        return Image(name=name, digest=digest, chain_id=top, config=config)

    async def _described(
        self, name: str, digest: str
    ) -> tuple[_Chosen, tuple[str, ...], ImageConfig]:
        """The manifest for this machine, the digests of the unpacked layers, the configuration."""
        data = await self._content.read(digest, limit=MANIFEST_BYTES_MAX)
        if documents.media_type(name, data) in documents.INDEX_TYPES:
            digest = documents.platform_manifest(name, data, self._architecture).digest
            data = await self._content.read(digest, limit=MANIFEST_BYTES_MAX)
        manifest = documents.parse_manifest(name, data)
        data = await self._content.read(manifest.config.digest, limit=documents.CONFIG_BYTES_MAX)
        config, diff_ids = documents.parse_config(name, data, self._architecture)
        return _Chosen(digest, manifest), diff_ids, config

    async def _pull(self, pull: _Pull) -> Image:
        root, data = await self._document(pull, pull.reference.target)
        chosen = root
        if root.media_type in documents.INDEX_TYPES:
            chosen = documents.platform_manifest(pull.name, data, self._architecture)
            await self._content.label(root.digest, {f"{_REF}.content.m.0": chosen.digest})
            chosen, data = await self._document(pull, chosen.digest)
        manifest = documents.parse_manifest(pull.name, data)
        await self._fetch(pull, manifest.config)
        data = await self._content.read(manifest.config.digest, limit=documents.CONFIG_BYTES_MAX)
        config, diff_ids = documents.parse_config(pull.name, data, self._architecture)
        top = await self._unpack(pull, manifest, diff_ids)
        labels = {f"{_REF}.content.config": manifest.config.digest}
        for index, layer in enumerate(manifest.layers):
            labels[f"{_REF}.content.l.{index}"] = layer.digest
        if top:
            snapshot = {f"{_REF}.snapshot.{self.snapshotter}": top}
            await self._content.label(manifest.config.digest, snapshot)
        await self._content.label(chosen.digest, labels)
        await self._record(pull.name, root)
        return Image(name=pull.name, digest=root.digest, chain_id=top, config=config)

    async def _document(self, pull: _Pull, target: str) -> tuple[Descriptor, bytes]:
        """An index or manifest by tag or digest, in the content store afterwards."""
        if ":" in target and await self._content.has(target, lease=pull.lease):
            data = await self._content.read(target, limit=MANIFEST_BYTES_MAX)
            digest, sent_as = target, ""
        else:
            document = await self._registry.manifest(pull.reference, target, pull.access)
            data, digest, sent_as = document.data, document.digest, document.media_type
            if not await self._content.has(digest, lease=pull.lease):
                await self._content.write(digest, len(data), _once(data), lease=pull.lease)
        kind = documents.media_type(pull.name, data, sent_as)
        return Descriptor(media_type=kind, digest=digest, size=len(data)), data

    async def _fetch(self, pull: _Pull, blob: Descriptor) -> None:
        if await self._content.has(blob.digest, lease=pull.lease):
            return
        source = self._registry.blob(pull.reference, blob.digest, blob.size, pull.access)
        async with aclosing(source) as chunks:
            await self._content.write(blob.digest, blob.size, chunks, lease=pull.lease)

    async def _unpack(self, pull: _Pull, manifest: Manifest, diff_ids: tuple[str, ...]) -> str:
        """Have a snapshot of each layer on those below it; the topmost one's name."""
        if len(manifest.layers) != len(diff_ids):
            raise InvalidArgument(
                f"image {pull.name} is damaged: it has {len(manifest.layers)} layers and"
                f" {len(diff_ids)} digests of unpacked ones"
            )
        below = ""
        for layer, diff_id, name in zip(
            manifest.layers, diff_ids, documents.chain_ids(diff_ids), strict=True
        ):
            async with self._lock(name):  # another image can have this layer, too
                if not await self._has_snapshot(pull, name):
                    await self._fetch(pull, layer)
                    await self._apply(pull, layer, diff_id, name, below)
            below = name
        return below

    async def _has_snapshot(self, pull: _Pull, name: str) -> bool:
        resource = schema.leases.Resource(id=name, type=f"snapshots/{self.snapshotter}")
        await self._containerd.leases.AddResource(id=pull.lease, resource=resource)
        try:
            await self._containerd.snapshots.Stat(snapshotter=self.snapshotter, key=name)
        except NotFound:
            return False
        return True

    async def _apply(
        self, pull: _Pull, layer: Descriptor, diff_id: str, name: str, below: str
    ) -> None:
        snapshots = self._containerd.snapshots
        place = {"snapshotter": self.snapshotter, "key": f"pyswarm-unpack-{uuid.uuid4().hex}"}
        prepared = await snapshots.Prepare(**place, parent=below, lease=pull.lease)
        try:
            blob = schema.types.Descriptor(
                media_type=layer.media_type, digest=layer.digest, size=layer.size
            )
            applied = await self._containerd.diff.Apply(
                diff=blob,
                mounts=prepared.mounts,
                lease=pull.lease,
                timeout_seconds=UNPACK_TIMEOUT_SECONDS,
            )
            if applied.applied.digest != diff_id:
                raise InvalidArgument(
                    f"image {pull.name} is damaged: its layer {layer.digest} unpacks to"
                    f" {applied.applied.digest}, not to {diff_id}"
                )
            await snapshots.Commit(**place, name=name, lease=pull.lease)
        except BaseException as failure:
            await asyncio.shield(self._discard(place))
            if not isinstance(failure, AlreadyExists):  # another program was faster
                raise

    async def _discard(self, place: dict[str, str]) -> None:
        try:
            await self._containerd.snapshots.Remove(**place)
        except SwarmError as failure:
            log.warning("%s is left to containerd's collector: %s", place["key"], failure.message)

    async def _record(self, name: str, root: Descriptor) -> None:
        target = schema.types.Descriptor(
            media_type=root.media_type, digest=root.digest, size=root.size
        )
        labels = {USED_LABEL: f"{time.time():.3f}"}
        image = schema.images.Image(name=name, target=target, labels=labels)
        try:
            await self._containerd.images.Create(image=image)
        except AlreadyExists:
            paths = ["target", f"labels.{USED_LABEL}"]
            await self._containerd.images.Update(image=image, update_mask={"paths": paths})

    async def mark_used(self, name: str, now: float) -> None:
        """Note that an image was needed; nothing happens where it is gone."""
        image = schema.images.Image(name=name, labels={USED_LABEL: f"{now:.3f}"})
        try:
            await self._containerd.images.Update(
                image=image, update_mask={"paths": [f"labels.{USED_LABEL}"]}
            )
        except NotFound:
            return

    async def remove(
        self, name: str, digest: str, still: Callable[[], bool], last: bool = False
    ) -> bool:
        """Remove an image's record unless `still` says no while no pull of it is under way; `last`
        waits until containerd has collected what nothing refers to. Whether it was removed."""
        by_name, by_digest = self._lock(name), self._lock(digest)
        async with by_name, by_digest:
            if not still():
                return False
            by_name.pulled = by_digest.pulled = None
            try:
                await self._containerd.images.Delete(name=name, sync=last)
            except NotFound:
                return False
            return True

    async def parts(self, digest: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The digests of an image's blobs, itself among them, and the snapshots of its layers.
        Raises NotFound where a part of the description is missing."""
        blobs, (manifest, diff_ids, _) = [digest], await self._described(digest, digest)
        if manifest.digest != digest:
            blobs.append(manifest.digest)
        blobs += [manifest.parsed.config.digest, *(each.digest for each in manifest.parsed.layers)]
        return tuple(dict.fromkeys(blobs)), documents.chain_ids(diff_ids)

    def _lock(self, key: str) -> _Turn:
        return self._locks.setdefault(key, _Turn())

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[str]:
        leases = self._containerd.leases
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + LEASE_SECONDS))
        labels = {"containerd.io/gc.expire": end}
        lease = f"pyswarm-{uuid.uuid4().hex}"
        try:
            # A creation that is cancelled half-way may still take effect, so it runs to its end.
            await to_the_end(leases.Create(id=lease, labels=labels))
            yield lease
        finally:
            await asyncio.shield(self._end(lease))

    async def _end(self, lease: str) -> None:
        try:
            await self._containerd.leases.Delete(id=lease)
        except NotFound:
            return
        except SwarmError as failure:
            log.warning("a lease stays until it expires: %s", failure.message)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
