"""The first device's side of linking (PROTOCOL 7.8; R14 P2 and P3, R16, R18).

It reads a code, certifies the new device, adds it to every line, and removes it again.

    code ──▶ OPENING ──hello──▶ OFFERED ──here──▶ LINKED ──remove──▶ REMOVED ──leaves gone──▶ (forgotten)

Messages only change records; `work` compares records with lines and does what is missing. It may run at any
time and any number of times: whatever a crash interrupted is simply still missing.
"""

from __future__ import annotations

from typing import Final

from clients.sdk import renewal
from clients.sdk.line.events import AddDevice, LinePhase, RemoveDevice, WelcomeDelivered, WelcomeReady
from clients.sdk.line.view import LineView
from clients.sdk.linking import mailbox, wire
from clients.sdk.linking.host import LinkHost
from clients.sdk.linking.siblings import (
    MAX_DEVICES_OF_A_PERSON,
    SIBLING_CERTIFICATES,
    SIBLING_ID_BYTES,
    Sibling,
    SiblingLine,
    SiblingPhase,
    forget_sibling,
    load_sibling,
    load_sibling_line,
    load_sibling_lines,
    load_siblings,
    save_sibling,
    save_sibling_line,
)
from crypto.codec import CodecError, decode
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.key_package import check_key_package, check_lifetime, read_key_package
from crypto.policy import MAX_LEAVES
from crypto.sensitive import Secret
from crypto.suites import PRODUCT
from keys.certificates import DeviceCertificate, DeviceId, DeviceRole, Identity, utc_day
from keys.linking import LinkingCode
from keys.vault import VaultTransaction

ASK_AGAIN_SECONDS: Final = 86_400.0
"""A linked device that has not come into a line is told of it again after a day."""
_OPEN: Final = frozenset({LinePhase.ACTIVE, LinePhase.STRANDED, LinePhase.UNDECIDED})


class TooManyDevices(Exception):
    """The person has as many devices as a line has places for them."""


class CodeUsed(Exception):
    """The code has linked a device already."""


class FirstDevice:
    """See the module.

    Args:
        host: The device.
    """

    def __init__(self, host: LinkHost) -> None:
        self._host = host

    # -- what the person wants

    def begin(self, tx: VaultTransaction, code: LinkingCode, *, name: str) -> Sibling:
        """Start linking the device that shows `code`, or go on where an earlier attempt stopped.

        Raises:
            CodeUsed, TooManyDevices.
        """
        siblings = load_siblings(tx)
        for sibling in siblings:
            if sibling.code_digest == code.digest:
                if sibling.phase in {SiblingPhase.LINKED, SiblingPhase.REMOVED}:
                    raise CodeUsed
                return sibling
        # An attempt whose code was never answered makes room for the next one.
        for sibling in siblings:
            if sibling.phase is SiblingPhase.OPENING:
                mailbox.close_box(tx, sibling.opening_box)
                forget_sibling(tx, sibling.sibling_id)
        standing = [sibling for sibling in siblings if sibling.phase is not SiblingPhase.OPENING]
        if len(standing) + 1 >= MAX_DEVICES_OF_A_PERSON:
            raise TooManyDevices
        rng = self._host.rng
        sibling = Sibling(
            sibling_id=rng(SIBLING_ID_BYTES),
            name=name,
            phase=SiblingPhase.OPENING,
            code_digest=code.digest,
            key_hash=code.key_hash,
            expires=code.expires,
            opening_box=rng(mailbox.BOX_ID_BYTES),
        )
        mailbox.open_box(
            tx,
            sibling.opening_box,
            incoming=wire.opening_direction(code, wire.UP),
            outgoing=wire.opening_direction(code, wire.DOWN),
            rng=rng,
        )
        save_sibling(tx, sibling)
        return sibling

    def give_up(self, tx: VaultTransaction, sibling: Sibling) -> None:
        """Linking did not begin: forget the attempt."""
        mailbox.close_box(tx, sibling.opening_box)
        forget_sibling(tx, sibling.sibling_id)

    def remove(self, tx: VaultTransaction, sibling: Sibling) -> None:
        """Remove a device: tell it, and let `work` remove its leaves."""
        if sibling.opening_box:
            mailbox.close_box(tx, sibling.opening_box)
        if sibling.link_box and sibling.phase is not SiblingPhase.REMOVED:
            removed = wire.encode_link_message(wire.Removed())
            mailbox.post(tx, sibling.link_box, removed, self._host.rng)
        sibling.phase, sibling.opening_box = SiblingPhase.REMOVED, b""
        save_sibling(tx, sibling)

    # -- what comes in

    def take_opening(self, sibling_id: bytes) -> mailbox.Take:
        """Takes the new device's HELLO."""

        def take(tx: VaultTransaction, message: bytes, now: float) -> None:
            del now
            sibling = load_sibling(tx, sibling_id)
            if sibling is None or sibling.phase is not SiblingPhase.OPENING:
                return
            try:
                sibling.public_key = wire.decode_hello(message, code_key_hash=sibling.key_hash)
            except ValidationError:
                sibling.tampered = True
            save_sibling(tx, sibling)

        return take

    def _offer(self, tx: VaultTransaction, sibling: Sibling, lines: int) -> None:
        """Seal the offer to the new device's key, and open the mailbox that it leads to."""
        host = self._host
        record = host.device
        secret = host.rng(wire.LINK_SECRET_BYTES)
        identity = b""
        if record.therapist is not None:
            identity = DeviceCertificate.decode(record.therapist.keys.certificate).identity_key
        offer = wire.Offer(
            link_secret=Secret(secret),
            role=record.role,
            device_name=sibling.name,
            display_name=record.display_name,
            identity_key=identity,
            lines=min(lines, 0xFFFF),
        )
        sealed = offer.seal(sibling.public_key, code_digest=sibling.code_digest, rng=host.rng)
        mailbox.post(tx, sibling.opening_box, sealed, host.rng)
        sibling.link_box = host.rng(mailbox.BOX_ID_BYTES)
        mailbox.open_box(
            tx,
            sibling.link_box,
            incoming=wire.link_direction(secret, wire.UP),
            outgoing=wire.link_direction(secret, wire.DOWN),
            rng=host.rng,
        )
        sibling.phase, sibling.public_key = SiblingPhase.OFFERED, b""
        save_sibling(tx, sibling)

    def take_link(self, sibling_id: bytes) -> mailbox.Take:
        """Takes HERE and ANSWER of a linked device."""

        def take(tx: VaultTransaction, data: bytes, now: float) -> None:
            message = wire.decode_link_message(data)
            sibling = load_sibling(tx, sibling_id)
            if sibling is None or sibling.phase is SiblingPhase.REMOVED:
                return
            match message:
                case wire.Here():
                    self._take_here(tx, sibling, message, now)
                case wire.Answer():
                    self._take_answer(tx, sibling, message)
                case _:
                    return
            sibling.heard_at = now
            save_sibling(tx, sibling)

        return take

    def _take_here(self, tx: VaultTransaction, sibling: Sibling, message: wire.Here, now: float) -> None:
        if sibling.phase is SiblingPhase.OFFERED:
            mailbox.close_box(tx, sibling.opening_box)
            sibling.phase, sibling.opening_box, sibling.linked_at = SiblingPhase.LINKED, b"", now
        for line in load_sibling_lines(tx, sibling.sibling_id):
            line.joined = line.joined or line.line_id in message.line_ids
            if not line.joined:
                line.asked_at = 0.0
            save_sibling_line(tx, sibling.sibling_id, line)

    def _take_answer(self, tx: VaultTransaction, sibling: Sibling, message: wire.Answer) -> None:
        if message.line_id not in self._host.line_records:
            return
        line = load_sibling_line(tx, sibling.sibling_id, message.line_id)
        if line.device_key and (line.device_key, line.device_id) != (message.device_key, message.device_id):
            return  # a device has one key in a line, for good
        if not line.device_key:
            line.asked_at = 0.0  # now it can have its certificate
        line.device_key, line.device_id = message.device_key, message.device_id
        if message.joined:
            line.joined, line.key_package = True, b""
        elif message.key_package:
            line.key_package = message.key_package
        save_sibling_line(tx, sibling.sibling_id, line)

    def take_welcome(self, line_id: bytes, effect: WelcomeReady) -> None:
        """R16: a device was added; its Welcome goes into its mailbox, and may then be forgotten."""
        host = self._host
        group_id = host.view(line_id).group_id
        with host.vault.transaction() as tx:
            for sibling in load_siblings(tx):
                line = load_sibling_line(tx, sibling.sibling_id, line_id)
                if sibling.phase is SiblingPhase.LINKED and line.device_id == effect.device_id:
                    self._tell(tx, sibling, line, group_id, welcome=effect.welcome)
        host.handle(line_id, WelcomeDelivered(welcome_id=effect.welcome_id))

    # -- what is missing

    def work(self, now: float) -> None:
        """Compare what is with what should be, and do what is missing."""
        host = self._host
        with host.vault.transaction() as tx:
            siblings = load_siblings(tx)
            lines = {sibling.sibling_id: load_sibling_lines(tx, sibling.sibling_id) for sibling in siblings}
        if not siblings:
            return
        mine: set[bytes] = set()
        gone: set[bytes] = set()
        for sibling in siblings:
            devices = {line.device_id for line in lines[sibling.sibling_id] if line.device_id}
            if sibling.phase is SiblingPhase.REMOVED:
                gone |= devices
            else:
                mine |= devices
        views = {line_id: host.view(line_id) for line_id in list(host.line_records)}
        views = {line_id: view for line_id, view in views.items() if view.phase in _OPEN}
        for sibling in siblings:
            if sibling.phase is SiblingPhase.OPENING:
                self._go_on_opening(sibling, len(views), now)
        strangers = 0
        for line_id, view in views.items():
            strangers += self._remove_strangers(line_id, view, mine, gone)
            if view.phase is LinePhase.ACTIVE:
                for sibling in siblings:
                    if sibling.phase is SiblingPhase.LINKED:
                        self._bring_in(sibling, line_id, view, now)
        self._renew_all(siblings, now)
        if not strangers:
            self._forget_removed(siblings)

    def _go_on_opening(self, sibling: Sibling, lines: int, now: float) -> None:
        """Answer the new device's HELLO; or forget the attempt, if nobody answered within the hour."""
        with self._host.vault.transaction() as tx:
            if now > sibling.expires:
                self.give_up(tx, sibling)
            elif sibling.public_key:
                self._offer(tx, sibling, lines)

    def _remove_strangers(self, line_id: bytes, view: LineView, mine: set[bytes], gone: set[bytes]) -> int:
        """Remove leaves of this person that are no device of theirs any more; returns how many there are.

        A removed device that is only about to be added counts too: the wish to remove it takes the place of
        the wish to add it.
        """
        certificate = DeviceCertificate.decode(self._host.keys_of(line_id).certificate)
        found = {
            member.device_id
            for member in view.members
            if member.mine and member.device_id != certificate.device_id and member.device_id not in mine
        }
        found |= view.changing & gone
        for device_id in found:
            self._host.handle(line_id, RemoveDevice(device_id=device_id))
        return len(found)

    def _forget_removed(self, siblings: list[Sibling]) -> None:
        with self._host.vault.transaction() as tx:
            for sibling in siblings:
                if sibling.phase is SiblingPhase.REMOVED and not mailbox.waiting(tx, sibling.link_box):
                    mailbox.close_box(tx, sibling.link_box)
                    forget_sibling(tx, sibling.sibling_id)

    def _bring_in(self, sibling: Sibling, line_id: bytes, view: LineView, now: float) -> None:
        """One linked device, one line that it should be in: the next step, if there is one."""
        host = self._host
        with host.vault.transaction() as tx:
            line = load_sibling_line(tx, sibling.sibling_id, line_id)
            member = any(member.device_id == line.device_id for member in view.members)
            if line.joined or member or line.device_id in view.changing:
                return
            if len(view.members) >= MAX_LEAVES:
                return
            if line.key_package and not self._usable(line, now):
                line.key_package = b""  # asked for again, but never more than once a day
                save_sibling_line(tx, sibling.sibling_id, line)
            if not line.key_package:
                if not line.asked_at or now >= line.asked_at + ASK_AGAIN_SECONDS:
                    line.asked_at = now
                    self._tell(tx, sibling, line, view.group_id)
                    save_sibling_line(tx, sibling.sibling_id, line)
                return
        host.handle(line_id, AddDevice(key_package=line.key_package))

    def _usable(self, line: SiblingLine, now: float) -> bool:
        """Whether a KeyPackage may be used to add this device (R14 P2, RFC 9420 section 10.1)."""
        own = DeviceCertificate.decode(self._host.keys_of(line.line_id).certificate)
        try:
            key_package = decode(line.key_package, read_key_package)
            check_key_package(PRODUCT, key_package)
            check_lifetime(key_package, now=now)
            certificate = DeviceCertificate.decode(key_package.leaf_node.credential.identity)
            certificate.verify()
        except (CodecError, ValidationError, AuthenticationError, StateError):
            return False
        return (
            certificate.identity_key == own.identity_key
            and certificate.role is DeviceRole.SECONDARY
            and (certificate.device_key, certificate.device_id) == (line.device_key, line.device_id)
            and key_package.leaf_node.signature_key == line.device_key
        )

    def _tell(
        self,
        tx: VaultTransaction,
        sibling: Sibling,
        line: SiblingLine,
        group_id: bytes,
        *,
        welcome: bytes = b"",
    ) -> None:
        host = self._host
        record = host.line_records[line.line_id]
        keys = host.keys_of(line.line_id)
        message = wire.Line(
            line_id=line.line_id,
            group_id=group_id,
            identity_key=DeviceCertificate.decode(keys.certificate).identity_key,
            peer_identity=record.peer_identity,
            name=record.name,
            peer_name=record.peer_name,
            created=record.created,
            confirmed=record.confirmed,
            certificate=self._certificate(tx, sibling, line),
            welcome=welcome,
        )
        mailbox.post(tx, sibling.link_box, wire.encode_link_message(message), host.rng)

    def _renew_all(self, siblings: list[Sibling], now: float) -> None:
        for sibling in siblings:
            if sibling.phase is SiblingPhase.LINKED:
                self._renew(sibling, now)

    def _renew(self, sibling: Sibling, now: float) -> None:
        """Certify a linked device anew where its certificate is about to end, and tell it in each line."""
        host = self._host
        groups = {line_id: host.view(line_id).group_id for line_id in list(host.line_records)}
        with host.vault.transaction() as tx:
            renewed = set()
            for line in load_sibling_lines(tx, sibling.sibling_id):
                record = host.line_records.get(line.line_id)
                if record is None or not line.joined:
                    continue
                keys = host.keys_of(line.line_id)
                if keys.identity_seed is None:
                    continue
                identity = Identity(keys.identity_seed.reveal())
                place = sibling.sibling_id + identity.public_key
                known = tx.get(SIBLING_CERTIFICATES, place)
                if known is None:
                    continue
                certificate = DeviceCertificate.decode(known)
                if renewal.due(certificate, now):
                    tx.put(SIBLING_CERTIFICATES, place, renewal.again(identity, certificate, now).encode())
                    renewed.add(place)
                if place in renewed:
                    self._tell(tx, sibling, line, groups[line.line_id])

    def _certificate(self, tx: VaultTransaction, sibling: Sibling, line: SiblingLine) -> bytes:
        """Its certificate under the line's identity, made once; empty while its key is not known."""
        seed = self._host.keys_of(line.line_id).identity_seed
        if not line.device_key or seed is None:
            return b""
        identity = Identity(seed.reveal())
        key = sibling.sibling_id + identity.public_key
        known = tx.get(SIBLING_CERTIFICATES, key)
        if known is not None:
            return known
        today = utc_day(sibling.heard_at)
        certificate = identity.certify(
            device_key=line.device_key,
            device_id=DeviceId(line.device_id),
            role=DeviceRole.SECONDARY,
            not_before_day=today,
            not_after_day=today + renewal.CERTIFICATE_DAYS,
        ).encode()
        tx.put(SIBLING_CERTIFICATES, key, certificate)
        return certificate
