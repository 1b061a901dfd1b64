"""Records to protobuf and back: protobuf objects stop here."""

from pyswarm.wire.codec import decode, encode, from_message, message_type, to_message

__all__ = ["decode", "encode", "from_message", "message_type", "to_message"]
