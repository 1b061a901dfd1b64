"""The replicated state: persistent tables, transactions on them, and what raft carries of both."""

from manager.state.changes import Change, Changed, Commit, Delete, Put
from manager.state.proposer import Proposer
from manager.state.store import Transaction
from manager.state.tables import KINDS, Record, View

__all__ = [
    "Change",
    "Changed",
    "Commit",
    "Delete",
    "KINDS",
    "Proposer",
    "Put",
    "Record",
    "Transaction",
    "View",
]
