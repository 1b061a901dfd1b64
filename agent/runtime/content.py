"""containerd's content store: blobs under their digests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Final

from agent.runtime import schema
from agent.runtime.client import Containerd
from pyswarm.errors import AlreadyExists, DataLoss, NotFound, SwarmError

_WRITE: Final = 1  # WriteAction of containerd's API
_COMMIT: Final = 2


class ContentStore:
    """Blobs. `lease` names the lease that keeps them until something refers to them."""

    def __init__(self, containerd: Containerd) -> None:
        self._containerd = containerd

    async def has(self, digest: str, *, lease: str) -> bool:
        """Whether the blob is here, whole; the lease keeps it from now on."""
        # The lease goes first: between look and hold the blob could be collected.
        resource = schema.leases.Resource(id=digest, type="content")
        await self._containerd.leases.AddResource(id=lease, resource=resource)
        try:
            await self._containerd.content.Info(digest=digest)
        except NotFound:
            return False
        return True

    async def read(self, digest: str, *, limit: int) -> bytes:
        """A blob of at most `limit` bytes; raises NotFound, and DataLoss for a larger one."""
        data = bytearray()
        async for part in self._containerd.content.Read(digest=digest):
            data += part.data
            if len(data) > limit:
                raise DataLoss(f"the blob {digest} has more than {limit} bytes: remove the image")
        return bytes(data)

    async def write(
        self, digest: str, size: int, chunks: AsyncIterator[bytes], *, lease: str
    ) -> None:
        """Store a blob; containerd checks the digest. A failure leaves nothing behind."""
        # The name is new each time: a write that another one holds is refused, and what a broken
        # write has left would have to be compared first.
        name = f"pyswarm-{uuid.uuid4().hex}"
        try:
            with self._containerd.errors():
                await self._stream(name, digest, size, chunks, lease)
        except AlreadyExists:
            assert await self.has(digest, lease=lease), digest
        except BaseException:
            await asyncio.shield(self._abort(name))
            raise

    async def _stream(
        self, name: str, digest: str, size: int, chunks: AsyncIterator[bytes], lease: str
    ) -> None:
        # In lock step, a request and then its answer: when more is under way, grpc shows an early
        # refusal as an internal error of its own.
        requests: asyncio.Queue[object] = asyncio.Queue()

        async def outgoing() -> AsyncIterator[object]:
            while (request := await requests.get()) is not None:
                yield request

        call = self._containerd.content.Write(outgoing(), lease=lease)
        answers = aiter(call)
        offset = 0
        fields = {"ref": name, "total": size, "expected": digest}
        request = schema.content.WriteContentRequest
        try:
            async for chunk in chunks:
                requests.put_nowait(request(action=_WRITE, offset=offset, data=chunk, **fields))
                await anext(answers)
                offset += len(chunk)
            requests.put_nowait(request(action=_COMMIT, offset=offset, **fields))
            await anext(answers)
        except StopAsyncIteration:
            raise SwarmError(f"containerd ended the write of the blob {digest} early") from None
        finally:
            requests.put_nowait(None)
            call.cancel()

    async def _abort(self, name: str) -> None:
        try:
            await self._containerd.content.Abort(ref=name)
        except SwarmError:
            return  # It was not begun, or containerd is away and collects it with the lease.

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Set labels of a blob; others stay."""
        if labels:
            await self._containerd.content.Update(
                info=schema.content.Info(digest=digest, labels=labels),
                update_mask={"paths": [f"labels.{key}" for key in labels]},
            )
