"""Persons with real device certificates, for the tests of what the product allows (R14)."""

from __future__ import annotations

from crypto.policy import product_capabilities
from crypto.suites import PRODUCT
from keys.certificates import DeviceCertificate, DeviceId, DeviceRole, Identity
from support.mls_groups import Device, Rng


class Person:
    """An identity that certifies devices."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.identity = Identity.generate(rng)

    def certificate(
        self, device_key: bytes, role: DeviceRole = DeviceRole.PRIMARY, *, not_after_day: int = 20_400
    ) -> DeviceCertificate:
        return self.identity.certify(
            device_key=device_key,
            device_id=DeviceId(self.rng(16)),
            role=role,
            not_before_day=20_000,
            not_after_day=not_after_day,
        )

    def device(self, role: DeviceRole = DeviceRole.PRIMARY) -> Device:
        private, public = PRODUCT.generate_signature_key_pair(self.rng)
        return Device(
            suite=PRODUCT,
            identity=self.certificate(public, role).encode(),
            signature_private=private,
            capabilities=product_capabilities(),
        )
