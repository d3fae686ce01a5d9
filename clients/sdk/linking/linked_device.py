"""The new device's side of linking (PROTOCOL 7.8, R16).

It shows a code, becomes one of a person's devices, joins their lines, and forgets all keys when removed.

Messages only change records; `work` does what follows, each line in a transaction of its own, so that one
line that cannot be joined does not keep the others back.

| space              | key                    | record                                                  |
|--------------------|------------------------|---------------------------------------------------------|
| device.link.keys   | identity key           | `LinkedKeys`: this device's key under that identity     |
| device.link.lines  | line id                | `LinkedLine`: the newest LINE, and whether it was heeded |
| device.link.package| line id ‖ reference    | `clients.sdk.records.PackageRecord`                     |
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from clients.sdk.client_contact import own_device
from clients.sdk.line.events import LinePhase, RemovedByOwner
from clients.sdk.line.founding import join_line
from clients.sdk.line.record import FLAG, OPAQUE, FieldCodec, Record
from clients.sdk.linking import mailbox, wire
from clients.sdk.linking.host import LinkHost
from clients.sdk.model import Role
from clients.sdk.records import (
    LINES,
    DeviceKeys,
    DeviceRecord,
    LineRecord,
    LinkedState,
    LinkPhase,
    PackageRecord,
    free_name,
    load_device,
    load_lines,
    save_device,
    save_line,
)
from crypto.codec import CodecError, decode
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.key_package import KeyPackageBundle, generate_key_package, read_key_package
from crypto.leaf_node import Lifetime
from crypto.mls_message import read_mls_message
from crypto.policy import product_capabilities
from crypto.sensitive import Secret
from crypto.suites import PRODUCT
from crypto.welcome import Welcome
from keys import signing
from keys.certificates import DEVICE_ID_BYTES, SECONDS_PER_DAY, DeviceCertificate, DeviceRole, utc_day
from keys.linking import LinkingCode, parse_code
from keys.vault import VaultTransaction

LINK_KEYS: Final = "device.link.keys"
LINK_LINES: Final = "device.link.lines"
LINK_PACKAGES: Final = "device.link.package"
PACKAGE_DAYS: Final = 3
KEEP_PACKAGE_DAYS: Final = 31
"""A Welcome waits in the mailbox for at most 30 days (R6)."""


@dataclass(slots=True, kw_only=True)
class LinkedKeys(Record):
    """This device's signature key under one identity, and its certificate once there is one."""

    device_seed: bytes = field(repr=False)
    device_id: bytes
    certificate: bytes = b""

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (
        ("device_seed", OPAQUE),
        ("device_id", OPAQUE),
        ("certificate", OPAQUE),
    )


@dataclass(slots=True, kw_only=True)
class LinkedLine(Record):
    """What the first device last said about a line."""

    message: bytes = field(repr=False)
    due: bool

    LAYOUT: ClassVar[tuple[tuple[str, FieldCodec[Any]], ...]] = (("message", OPAQUE), ("due", FLAG))


class LinkedDevice:
    """See the module.

    Args:
        host: The device.
    """

    def __init__(self, host: LinkHost) -> None:
        self._host = host

    # -- before it is linked

    def show_code(self, tx: VaultTransaction, record: DeviceRecord, now: float) -> DeviceRecord:
        """Make a new code with a new one-time key; the one before is worth nothing any more.

        Raises:
            StateError: it is linked already, or no device that waits to be.
        """
        state = record.linked
        if state is None or state.phase is not LinkPhase.WAITING:
            raise StateError("this device does not wait to be linked")
        rng = self._host.rng
        if state.box_id:
            mailbox.close_box(tx, state.box_id)
        private, public = PRODUCT.generate_key_pair(rng)
        code = LinkingCode.make(relay_url=record.relay_url, public_key=public, rng=rng, now=now)
        box_id = rng(mailbox.BOX_ID_BYTES)
        mailbox.open_box(
            tx,
            box_id,
            incoming=wire.opening_direction(code, wire.DOWN),
            outgoing=wire.opening_direction(code, wire.UP),
            rng=rng,
        )
        mailbox.post(tx, box_id, wire.encode_hello(public), rng)
        state = replace(state, code=code.text, hpke_private=Secret(private), box_id=box_id)
        changed = replace(record, linked=state)
        save_device(tx, changed)
        return changed

    def take_opening(self, tx: VaultTransaction, data: bytes, now: float) -> None:
        """Take the offer: from now on this device is one of somebody's.

        Raises:
            CodecError, AuthenticationError: it is no offer for the code that this device shows.
            ValidationError: "link.expired": it came too late.
        """
        record = load_device(tx)
        state = None if record is None else record.linked
        if record is None or state is None or state.hpke_private is None:
            return
        code = parse_code(state.code)
        if now > code.expires:
            raise ValidationError("link.expired")
        offer = wire.Offer.open(data, state.hpke_private, code_digest=code.digest)
        rng, secret = self._host.rng, offer.link_secret.reveal()
        mailbox.close_box(tx, state.box_id)
        box_id = rng(mailbox.BOX_ID_BYTES)
        mailbox.open_box(
            tx,
            box_id,
            incoming=wire.link_direction(secret, wire.DOWN),
            outgoing=wire.link_direction(secret, wire.UP),
            rng=rng,
        )
        mailbox.post(tx, box_id, wire.encode_link_message(wire.Here(line_ids=())), rng)
        linked = LinkedState(
            phase=LinkPhase.LINKED,
            box_id=box_id,
            device_name=offer.device_name,
            identity_key=offer.identity_key,
            lines_promised=offer.lines,
            reported_day=utc_day(now),
        )
        save_device(tx, replace(record, role=offer.role, display_name=offer.display_name, linked=linked))

    # -- afterwards

    def take_link(self, tx: VaultTransaction, data: bytes, now: float) -> None:
        """Take LINE or REMOVED.

        Raises:
            CodecError: malformed.
        """
        del now
        message = wire.decode_link_message(data)
        record = load_device(tx)
        if record is None or record.linked is None:
            return
        match message:
            case wire.Line():
                tx.put(LINK_LINES, message.line_id, LinkedLine(message=data, due=True).to_bytes())
            case wire.Removed():
                self._removed(tx, record, record.linked)
            case _:
                pass

    def _removed(self, tx: VaultTransaction, record: DeviceRecord, state: LinkedState) -> None:
        """Everything by which this device was one of the person's goes; `work` ends the lines."""
        mailbox.close_box(tx, state.box_id)
        for space in (LINK_KEYS, LINK_LINES, LINK_PACKAGES):
            tx.delete_all(space)
        gone = LinkedState(phase=LinkPhase.REMOVED, device_name=state.device_name)
        save_device(tx, replace(record, linked=gone))

    def report(self, tx: VaultTransaction, record: DeviceRecord, now: float) -> DeviceRecord:
        """Once a day, tell the first device which lines are here, so that it notices what is missing."""
        state = record.linked
        today = utc_day(now)
        if state is None or state.phase is not LinkPhase.LINKED or state.reported_day == today:
            return record
        here = wire.Here(line_ids=tuple(line.line_id for line in load_lines(tx)))
        mailbox.post(tx, state.box_id, wire.encode_link_message(here), self._host.rng)
        changed = replace(record, linked=replace(state, reported_day=today))
        save_device(tx, changed)
        return changed

    def work(self, now: float) -> None:
        """Do what the messages taken ask for."""
        host = self._host
        with host.vault.transaction() as tx:
            record = load_device(tx)
            due = [
                (line_id, row)
                for line_id, row in ((key, LinkedLine.from_bytes(data)) for key, data in tx.items(LINK_LINES))
                if row.due
            ]
            for key, data in list(tx.items(LINK_PACKAGES)):
                if PackageRecord.decode(data).last_day + KEEP_PACKAGE_DAYS < utc_day(now):
                    tx.delete(LINK_PACKAGES, key)
        if record is None or record.linked is None:
            return
        if record != host.device:
            host.became(record)
        if record.linked.phase is not LinkPhase.LINKED:
            if record.linked.phase is LinkPhase.REMOVED:
                self._end_lines()
            return
        for line_id, row in due:
            self._heed(record.linked, line_id, row, now)

    def _end_lines(self) -> None:
        host = self._host
        for line_id, record in list(host.line_records.items()):
            if host.view(line_id).phase is not LinePhase.ENDED:
                host.handle(line_id, RemovedByOwner())
            keys = record.keys
            if keys is not None and keys.device_seed.reveal() != _NO_SEED:
                host.change_line(replace(record, keys=replace(keys, device_seed=Secret(_NO_SEED))))

    def _heed(self, state: LinkedState, line_id: bytes, row: LinkedLine, now: float) -> None:
        host = self._host
        message = wire.decode_link_message(row.message)
        opened: LineRecord | None = None
        if isinstance(message, wire.Line):
            # A LINE that breaks a rule changes nothing: the whole transaction is undone.
            with (
                contextlib.suppress(CodecError, ValidationError, AuthenticationError, StateError),
                host.vault.transaction() as tx,
            ):
                opened = self._follow(tx, state, message, now)
        with host.vault.transaction() as tx:
            if tx.get(LINK_LINES, line_id) is not None:
                tx.put(LINK_LINES, line_id, replace(row, due=False).to_bytes())
        if opened is not None:
            host.line_opened(opened)
        if isinstance(message, wire.Line):
            self._take_renewed(message)

    def _take_renewed(self, message: wire.Line) -> None:
        """The first device has renewed this one's certificate: it goes into the lines that it is in."""
        host = self._host
        record = host.line_records.get(message.line_id)
        with host.vault.transaction() as tx:
            data = tx.get(LINK_KEYS, message.identity_key)
        if record is None or record.keys is None or data is None:
            return
        certificate = LinkedKeys.from_bytes(data).certificate
        if record.keys.certificate != certificate:
            host.renewed(message.line_id, replace(record.keys, certificate=certificate))

    def _follow(
        self, tx: VaultTransaction, state: LinkedState, message: wire.Line, now: float
    ) -> LineRecord | None:
        """The next step with one line.

        Raises:
            CodecError, ValidationError, AuthenticationError, StateError: it breaks a rule.
        """
        if state.identity_key and message.identity_key != state.identity_key:
            raise ValidationError("link.identity")  # a therapist has one identity
        keys = self._keys(tx, message)
        if tx.get(LINES, message.line_id) is not None:
            self._answer(tx, state, message, keys, joined=True)
        elif not message.certificate:
            self._answer(tx, state, message, keys)
        elif not message.welcome:
            package = self._package(tx, message, keys, now)
            self._answer(tx, state, message, keys, key_package=package.key_package)
        else:
            record = self._join(tx, message, keys, now)
            self._answer(tx, state, message, keys, joined=True)
            return record
        return None

    def _keys(self, tx: VaultTransaction, message: wire.Line) -> LinkedKeys:
        """This device's key under the line's identity, and the certificate that came for it."""
        data = tx.get(LINK_KEYS, message.identity_key)
        if data is not None:
            keys = LinkedKeys.from_bytes(data)
        else:
            rng = self._host.rng
            keys = LinkedKeys(device_seed=rng(signing.SEED_BYTES), device_id=rng(DEVICE_ID_BYTES))
        if message.certificate and message.certificate != keys.certificate:
            certificate = DeviceCertificate.decode(message.certificate)
            certificate.verify()
            if (
                certificate.identity_key != message.identity_key
                or certificate.device_key != signing.public_key(keys.device_seed)
                or certificate.device_id != keys.device_id
                or certificate.role is not DeviceRole.SECONDARY
            ):
                raise ValidationError("link.certificate")
            keys.certificate = message.certificate
        tx.put(LINK_KEYS, message.identity_key, keys.to_bytes())
        return keys

    def _answer(
        self,
        tx: VaultTransaction,
        state: LinkedState,
        message: wire.Line,
        keys: LinkedKeys,
        *,
        key_package: bytes = b"",
        joined: bool = False,
    ) -> None:
        answer = wire.Answer(
            line_id=message.line_id,
            device_key=signing.public_key(keys.device_seed),
            device_id=keys.device_id,
            key_package=key_package,
            joined=joined,
        )
        mailbox.post(tx, state.box_id, wire.encode_link_message(answer), self._host.rng)

    def _package(
        self, tx: VaultTransaction, message: wire.Line, keys: LinkedKeys, now: float
    ) -> PackageRecord:
        """A KeyPackage for this line alone: today's, or a new one."""
        today = utc_day(now)
        for _, data in tx.items(LINK_PACKAGES, message.line_id):
            known = PackageRecord.decode(data)
            if known.made_day == today:
                return known
        bundle = generate_key_package(
            suite=PRODUCT,
            signature_private=Secret(keys.device_seed),
            credential=Credential.basic(keys.certificate),
            capabilities=product_capabilities(),
            lifetime=Lifetime(
                not_before=today * SECONDS_PER_DAY, not_after=(today + PACKAGE_DAYS) * SECONDS_PER_DAY
            ),
            rng=self._host.rng,
        )
        package = PackageRecord(
            key_package=bundle.key_package.to_bytes(),
            init_private=bundle.init_private,
            encryption_private=bundle.encryption_private,
            made_day=today,
            last_day=today + PACKAGE_DAYS,
        )
        tx.put(LINK_PACKAGES, message.line_id + bundle.key_package.ref(PRODUCT), package.encode())
        return package

    def _join(self, tx: VaultTransaction, message: wire.Line, keys: LinkedKeys, now: float) -> LineRecord:
        """R16: the line's group, signed by the own person, with the other person that was named."""
        device_keys = DeviceKeys(
            identity_seed=None, device_seed=Secret(keys.device_seed), certificate=keys.certificate
        )
        join_line(
            tx,
            message.line_id,
            own_device(device_keys),
            self._host.rng,
            now=now,
            welcome=message.welcome,
            bundle=self._bundle_for(tx, message),
            known_group=lambda _: False,  # the line id is new here, and the group id is the one announced
            signer_identity=message.identity_key,
            group_id=message.group_id,
            peer_identity=message.peer_identity,
            suite=PRODUCT,
        )
        record = LineRecord(
            line_id=message.line_id,
            name=free_name({line.name for line in load_lines(tx)}, message.name),
            peer_name=message.peer_name,
            peer_identity=message.peer_identity,
            keys=device_keys,
            created=message.created,
            confirmed=message.confirmed,
        )
        save_line(tx, record)
        tx.delete_all(LINK_PACKAGES, message.line_id)
        return record

    def _bundle_for(self, tx: VaultTransaction, message: wire.Line) -> KeyPackageBundle:
        welcome = decode(message.welcome, read_mls_message).body
        if not isinstance(welcome, Welcome):
            raise ValidationError("link.welcome")
        for secrets in welcome.secrets:
            data = tx.get(LINK_PACKAGES, message.line_id + secrets.new_member)
            if data is not None:
                package = PackageRecord.decode(data)
                return KeyPackageBundle(
                    key_package=decode(package.key_package, read_key_package),
                    init_private=package.init_private,
                    encryption_private=package.encryption_private,
                )
        raise ValidationError("link.key-package")


_NO_SEED: Final = bytes(signing.SEED_BYTES)
"""In the place of the signature key of a device that was removed."""


def new_linked_record(relay_url: str) -> DeviceRecord:
    """The record of a device that waits to be linked. Its role is not known yet; it counts as a client's."""
    return DeviceRecord(
        role=Role.CLIENT,
        relay_url=relay_url,
        display_name="",
        therapist=None,
        linked=LinkedState(phase=LinkPhase.WAITING),
    )
