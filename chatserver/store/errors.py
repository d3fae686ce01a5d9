"""Errors of the relay's store, by blame.

Each message is one sentence that says what to do, and holds no stored bytes.

A caller that only wants to answer `STORE_FAILED` catches `StoreError`; `StoreUsageError` is our own mistake
and is deliberately no `StoreError`, so that it is never taken for a full disk.
"""


class StoreUsageError(Exception):
    """Our caller broke the contract: an argument of a wrong length, or the `live` class."""


class StoreError(Exception):
    """The store could not do what was asked; nothing of that request was acknowledged or kept."""


class StoreMissing(StoreError):
    """There is no store in the directory; `amanat-relay init` makes one."""


class StoreExists(StoreError):
    """`init_store` found a store and left it alone."""


class StoreDamaged(StoreError):
    """The file is no store of ours, its pages contradict each other, or the disk lost what was written."""


class StoreTooNew(StoreError):
    """A later version of the relay has written this store."""


class StoreBusy(StoreError):
    """Another process holds the store."""


class StoreFull(StoreError):
    """The disk, or its quota, is full. The store goes on as soon as there is room."""


class StoreReadOnly(StoreError):
    """The file or its file system cannot be written."""


class StoreClosed(StoreError):
    """`close` was called, or the store has ended by itself; the relay is stopping."""


class StoreOverloaded(StoreError):
    """More requests wait than `StoreSettings.max_queued`; ask again later."""


DAMAGED = "the store is damaged; put a copy back, or make a new one with `amanat-relay init`"
"""What `StoreDamaged` says when pages contradict each other."""
