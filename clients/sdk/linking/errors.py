"""What can go wrong with a person's devices, each with its sentence."""

from __future__ import annotations

from clients.sdk.errors import AmanatError, ExitCode, Refused, TimedOut, UsageError


class LinkingCodeRefused(Refused):
    """A linking code is mistyped, expired, used, or for another relay."""


class CodeWasUsed(LinkingCodeRefused):
    """Somebody has used the code."""

    def __init__(self) -> None:
        super().__init__(
            "This linking code was used already. If that was not you, somebody else has seen it: let the new "
            "device show a new one, and let nobody see it."
        )


class CodeTampered(LinkingCodeRefused):
    """The key that came is not the one in the code."""

    def __init__(self) -> None:
        super().__init__(
            "What came is not from the device that shows this code; nothing was linked. Show a new code and "
            "try again; if it happens again, do not trust the relay."
        )


class DeviceLimit(Refused):
    """The person has two devices."""

    def __init__(self) -> None:
        super().__init__(
            "A person can use two devices; remove one first (`amanat devices remove NAME`), if it is lost or "
            "no longer used."
        )


class NewDeviceSilent(TimedOut):
    """The new device has not answered yet."""

    def __init__(self) -> None:
        super().__init__(
            "The new device has not answered yet. Let `amanat link` run on it, and run the same command here "
            "again; the code is good for an hour."
        )


class NotLinkedYet(TimedOut):
    """Nobody has read the code yet."""

    def __init__(self) -> None:
        super().__init__(
            "No other device has read the code yet. Run `amanat link` again: it shows the same code as long "
            "as that is good, then a new one."
        )


class PrimaryOnly(UsageError):
    """Only the person's first device can do this."""

    def __init__(self) -> None:
        super().__init__("Only your first device can do this; this one is linked to it.")


class UnknownDevice(UsageError):
    """There is no such device."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no device named {name!r}; `amanat devices` lists them.")


class NotLinkable(UsageError):
    """This vault was not made to be linked."""

    def __init__(self) -> None:
        super().__init__(
            "This device has a person of its own. On the new device make an empty vault with "
            "`amanat --home DIR init --link --relay URL`, and give its code to this command here."
        )


class WaitsToBeLinked(UsageError):
    """This device is nobody's yet."""

    def __init__(self) -> None:
        super().__init__(
            "This device is not linked yet: run `amanat link` here, and read its code with the first one."
        )


class DeviceWasRemoved(AmanatError):
    """The person's first device has removed this one."""

    exit_code = ExitCode.REFUSED

    def __init__(self) -> None:
        super().__init__(
            "This device was removed by your first device and its keys are destroyed. What it received can "
            "still be read here; `amanat wipe` deletes that too."
        )
