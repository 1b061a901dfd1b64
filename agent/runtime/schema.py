"""The part of containerd's API that we speak, as a table, and its message classes.

The classes are made from the table at import, so there is no generated code whose version must
match protobuf's. The names and field numbers are those of containerd's API definitions (Apache
License 2.0, github.com/containerd/containerd/api, read at 1.6.20; later versions only add).

Message classes are found by package and name: `tasks.CreateTaskRequest(container_id="x")`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    timestamp_pb2,
)

# `@package`, then `Message field:type=number ...`; `*` repeats, `map` is string to string, a type
# with a dot in it lies in another package below `containerd`. An indented line goes on.
MESSAGES: Final = """
@containerd.types
Mount type:str=1 source:str=2 target:str=3 options:str*=4
Descriptor media_type:str=1 digest:str=2 size:i64=3 annotations:map=5
@containerd.v1.types
Process container_id:str=1 id:str=2 pid:u32=3 status:i32=4 stdin:str=5 stdout:str=6 stderr:str=7
  terminal:bool=8 exit_status:u32=9 exited_at:Time=10
@containerd.services.tasks.v1
CreateTaskRequest container_id:str=1 rootfs:types.Mount*=3 stdin:str=4 stdout:str=5 stderr:str=6
  terminal:bool=7 checkpoint:types.Descriptor=8 options:Any=9
CreateTaskResponse container_id:str=1 pid:u32=2
StartRequest container_id:str=1 exec_id:str=2
StartResponse pid:u32=1
DeleteTaskRequest container_id:str=1
DeleteProcessRequest container_id:str=1 exec_id:str=2
DeleteResponse id:str=1 pid:u32=2 exit_status:u32=3 exited_at:Time=4
GetRequest container_id:str=1 exec_id:str=2
GetResponse process:v1.types.Process=1
ListTasksRequest filter:str=1
ListTasksResponse tasks:v1.types.Process*=1
KillRequest container_id:str=1 exec_id:str=2 signal:u32=3 all:bool=4
ExecProcessRequest container_id:str=1 stdin:str=2 stdout:str=3 stderr:str=4 terminal:bool=5
  spec:Any=6 exec_id:str=7
ResizePtyRequest container_id:str=1 exec_id:str=2 width:u32=3 height:u32=4
CloseIORequest container_id:str=1 exec_id:str=2 stdin:bool=3
WaitRequest container_id:str=1 exec_id:str=2
WaitResponse exit_status:u32=1 exited_at:Time=2
@containerd.services.containers.v1
Runtime name:str=1 options:Any=2
Container id:str=1 labels:map=2 image:str=3 runtime:Runtime=4 spec:Any=5 snapshotter:str=6
  snapshot_key:str=7 created_at:Time=8 updated_at:Time=9
GetContainerRequest id:str=1
GetContainerResponse container:Container=1
ListContainersRequest filters:str*=1
ListContainersResponse containers:Container*=1
CreateContainerRequest container:Container=1
CreateContainerResponse container:Container=1
UpdateContainerRequest container:Container=1 update_mask:Mask=2
UpdateContainerResponse container:Container=1
DeleteContainerRequest id:str=1
@containerd.services.content.v1
Info digest:str=1 size:i64=2 created_at:Time=3 updated_at:Time=4 labels:map=5
InfoRequest digest:str=1
InfoResponse info:Info=1
UpdateRequest info:Info=1 update_mask:Mask=2
UpdateResponse info:Info=1
DeleteContentRequest digest:str=1
ListContentRequest filters:str*=1
ListContentResponse info:Info*=1
ReadContentRequest digest:str=1 offset:i64=2 size:i64=3
ReadContentResponse offset:i64=1 data:bytes=2
WriteContentRequest action:i32=1 ref:str=2 total:i64=3 expected:str=4 offset:i64=5 data:bytes=6
  labels:map=7
WriteContentResponse action:i32=1 started_at:Time=2 updated_at:Time=3 offset:i64=4 total:i64=5
  digest:str=6
AbortRequest ref:str=1
@containerd.services.diff.v1
ApplyRequest diff:types.Descriptor=1 mounts:types.Mount*=2
ApplyResponse applied:types.Descriptor=1
@containerd.services.events.v1
SubscribeRequest filters:str*=1
Envelope timestamp:Time=1 namespace:str=2 topic:str=3 event:Any=4
@containerd.services.images.v1
Image name:str=1 labels:map=2 target:types.Descriptor=3 created_at:Time=7 updated_at:Time=8
GetImageRequest name:str=1
GetImageResponse image:Image=1
CreateImageRequest image:Image=1
CreateImageResponse image:Image=1
UpdateImageRequest image:Image=1 update_mask:Mask=2
UpdateImageResponse image:Image=1
ListImagesRequest filters:str*=1
ListImagesResponse images:Image*=1
DeleteImageRequest name:str=1 sync:bool=2
@containerd.services.leases.v1
Lease id:str=1 created_at:Time=2 labels:map=3
CreateRequest id:str=1 labels:map=3
CreateResponse lease:Lease=1
DeleteRequest id:str=1 sync:bool=2
ListRequest filters:str*=1
ListResponse leases:Lease*=1
Resource id:str=1 type:str=2
AddResourceRequest id:str=1 resource:Resource=2
@containerd.services.namespaces.v1
Namespace name:str=1 labels:map=2
CreateNamespaceRequest namespace:Namespace=1
CreateNamespaceResponse namespace:Namespace=1
DeleteNamespaceRequest name:str=1
@containerd.services.snapshots.v1
PrepareSnapshotRequest snapshotter:str=1 key:str=2 parent:str=3 labels:map=4
PrepareSnapshotResponse mounts:types.Mount*=1
ViewSnapshotRequest snapshotter:str=1 key:str=2 parent:str=3 labels:map=4
ViewSnapshotResponse mounts:types.Mount*=1
MountsRequest snapshotter:str=1 key:str=2
MountsResponse mounts:types.Mount*=1
CommitSnapshotRequest snapshotter:str=1 name:str=2 key:str=3 labels:map=4
RemoveSnapshotRequest snapshotter:str=1 key:str=2
StatSnapshotRequest snapshotter:str=1 key:str=2
Info name:str=1 parent:str=2 kind:i32=3 created_at:Time=4 updated_at:Time=5 labels:map=6
StatSnapshotResponse info:Info=1
ListSnapshotsRequest snapshotter:str=1 filters:str*=2
ListSnapshotsResponse info:Info*=1
UsageRequest snapshotter:str=1 key:str=2
UsageResponse size:i64=1 inodes:i64=2
@containerd.services.introspection.v1
Plugin type:str=1 id:str=2 exports:map=5
PluginsRequest filters:str*=1
PluginsResponse plugins:Plugin*=1
@containerd.services.version.v1
VersionResponse version:str=1 revision:str=2
@containerd.runc.v1
Options no_pivot_root:bool=1 no_new_keyring:bool=2 shim_cgroup:str=3 io_uid:u32=4 io_gid:u32=5
  binary_name:str=6 root:str=7 criu_path:str=8 systemd_cgroup:bool=9
@containerd.events
TaskStart container_id:str=1 pid:u32=2
TaskDelete container_id:str=1 pid:u32=2 exit_status:u32=3 exited_at:Time=4 id:str=5
TaskExit container_id:str=1 id:str=2 pid:u32=3 exit_status:u32=4 exited_at:Time=5
TaskOOM container_id:str=1
"""

# `service Method:Request>Response`; `>>` streams the answer, `<>` streams both ways, `-` is Empty.
METHODS: Final = """
tasks Create:CreateTaskRequest>CreateTaskResponse Start:StartRequest>StartResponse
  Delete:DeleteTaskRequest>DeleteResponse DeleteProcess:DeleteProcessRequest>DeleteResponse
  Get:GetRequest>GetResponse List:ListTasksRequest>ListTasksResponse Kill:KillRequest>-
  Exec:ExecProcessRequest>- Wait:WaitRequest>WaitResponse
  ResizePty:ResizePtyRequest>- CloseIO:CloseIORequest>-
containers Get:GetContainerRequest>GetContainerResponse Delete:DeleteContainerRequest>-
  List:ListContainersRequest>ListContainersResponse
  Create:CreateContainerRequest>CreateContainerResponse
  Update:UpdateContainerRequest>UpdateContainerResponse
content Info:InfoRequest>InfoResponse Update:UpdateRequest>UpdateResponse Abort:AbortRequest>-
  Read:ReadContentRequest>>ReadContentResponse Write:WriteContentRequest<>WriteContentResponse
  Delete:DeleteContentRequest>- List:ListContentRequest>>ListContentResponse
diff Apply:ApplyRequest>ApplyResponse
events Subscribe:SubscribeRequest>>Envelope
images Get:GetImageRequest>GetImageResponse Create:CreateImageRequest>CreateImageResponse
  Update:UpdateImageRequest>UpdateImageResponse List:ListImagesRequest>ListImagesResponse
  Delete:DeleteImageRequest>-
leases Create:CreateRequest>CreateResponse Delete:DeleteRequest>- List:ListRequest>ListResponse
  AddResource:AddResourceRequest>-
namespaces Create:CreateNamespaceRequest>CreateNamespaceResponse Delete:DeleteNamespaceRequest>-
snapshots Prepare:PrepareSnapshotRequest>PrepareSnapshotResponse Commit:CommitSnapshotRequest>-
  View:ViewSnapshotRequest>ViewSnapshotResponse Mounts:MountsRequest>MountsResponse
  Remove:RemoveSnapshotRequest>- Stat:StatSnapshotRequest>StatSnapshotResponse
  List:ListSnapshotsRequest>>ListSnapshotsResponse Usage:UsageRequest>UsageResponse
introspection Plugins:PluginsRequest>PluginsResponse
version Version:->VersionResponse
"""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "str": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "i32": _Field.TYPE_INT32,
    "i64": _Field.TYPE_INT64,
    "u32": _Field.TYPE_UINT32,
}
_WELL_KNOWN: Final = {
    "Any": any_pb2.Any.DESCRIPTOR,
    "Time": timestamp_pb2.Timestamp.DESCRIPTOR,
    "Mask": field_mask_pb2.FieldMask.DESCRIPTOR,
}
_FILE: Final = "pyswarm/{}.proto"  # never the name of containerd's own file
_SPEC_URL: Final = "types.containerd.io/opencontainers/runtime-spec/1/"


@dataclass(frozen=True, slots=True)
class Method:
    """A call: its path on the wire, the classes of request and answer, and what streams."""

    service: str
    name: str
    request: Any
    response: Any
    arrow: str  # ">", ">>" or "<>"

    @property
    def path(self) -> str:
        """The path of the HTTP/2 request."""
        return f"/containerd.services.{self.service}.v1.{self.service.capitalize()}/{self.name}"


def _rows(table: str) -> Iterator[list[str]]:
    for line in table.replace("\n  ", " ").splitlines():
        if line:
            yield line.split()


def _add_field(file: Any, message: Any, text: str) -> None:
    name, _, rest = text.partition(":")
    kind, _, number = rest.partition("=")
    repeated = kind.endswith("*") or kind == "map"
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    field = message.field.add(name=name, number=int(number), label=label)
    kind = kind.removesuffix("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = _Field.TYPE_MESSAGE
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        for index, part in enumerate(("key", "value"), 1):
            entry.field.add(
                name=part, number=index, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL
            )
        field.type_name = f".{file.package}.{message.name}.{entry.name}"
    elif kind in _WELL_KNOWN:
        field.type_name = f".{_WELL_KNOWN[kind].full_name}"
        _depend(file, _WELL_KNOWN[kind].file.name)
    elif "." in kind:
        field.type_name = f".containerd.{kind}"
        _depend(file, _FILE.format(f"containerd.{kind.rpartition('.')[0]}"))
    else:
        field.type_name = f".{file.package}.{kind}"


def _depend(file: Any, name: str) -> None:
    if name not in file.dependency:
        file.dependency.append(name)


def _build() -> dict[str, Any]:
    """Each message class by its full name."""
    files: list[Any] = []
    for name, *fields in _rows(MESSAGES):
        if name.startswith("@"):
            package = name[1:]
            files.append(
                descriptor_pb2.FileDescriptorProto(
                    name=_FILE.format(package), package=package, syntax="proto3"
                )
            )
            continue
        message = files[-1].message_type.add(name=name)
        for text in fields:
            _add_field(files[-1], message, text)
    pool = descriptor_pool.Default()
    classes = {}
    for file in files:  # a package stands after those that it uses
        pool.AddSerializedFile(file.SerializeToString())
        for message in file.message_type:
            full_name = f"{file.package}.{message.name}"
            found = pool.FindMessageTypeByName(full_name)
            classes[full_name] = message_factory.GetMessageClass(found)
    return classes


_CLASSES: Final = _build()


class Package:
    """The message classes of one package as attributes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        try:
            return _CLASSES[f"{self._name}.{name}"]
        except KeyError:
            raise AttributeError(f"the table has no message {self._name}.{name}") from None


types = Package("containerd.types")
tasks = Package("containerd.services.tasks.v1")
containers = Package("containerd.services.containers.v1")
content = Package("containerd.services.content.v1")
images = Package("containerd.services.images.v1")
leases = Package("containerd.services.leases.v1")
namespaces = Package("containerd.services.namespaces.v1")
snapshots = Package("containerd.services.snapshots.v1")
runc = Package("containerd.runc.v1")
events = Package("containerd.events")


def methods() -> Iterator[Method]:
    """Every call of the table."""
    for service, *calls in _rows(METHODS):
        for call in calls:
            name, _, rest = call.partition(":")
            arrow = next(arrow for arrow in ("<>", ">>", ">") if arrow in rest)
            request, response = (
                empty_pb2.Empty
                if part == "-"
                else _CLASSES[f"containerd.services.{service}.v1.{part}"]
                for part in rest.split(arrow)
            )
            yield Method(service, name, request, response, arrow)


def pack(message: Any) -> any_pb2.Any:
    """A message as containerd wants it inside another: its full name is the type's address."""
    return any_pb2.Any(type_url=message.DESCRIPTOR.full_name, value=message.SerializeToString())


def pack_json(kind: str, document: Mapping[str, Any]) -> any_pb2.Any:
    """A part of the OCI runtime specification: `kind` is `Spec` or `Process`."""
    return any_pb2.Any(type_url=_SPEC_URL + kind, value=json.dumps(document).encode())


def unpack(packed: any_pb2.Any) -> Any | None:
    """The message inside, for example an `events.TaskExit`; None for one the table lacks."""
    kind = _CLASSES.get(packed.type_url.rpartition("/")[2])
    return None if kind is None else kind.FromString(packed.value)
