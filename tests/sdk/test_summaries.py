"""clients.sdk.summaries: appointments, as both sides made and answered them."""

from __future__ import annotations

import pytest

from clients.sdk.line.events import ItemId
from clients.sdk.line.payloads import PayloadKind, ScheduledOffer, encode_scheduled_offer
from clients.sdk.line.view import LineMessage
from clients.sdk.model import OfferState
from clients.sdk.summaries import list_offers
from crypto.sensitive import Plaintext

OFFER = bytes(range(16))
NOW = 1_000


def said(kind: PayloadKind, *, mine: bool, at: int = 2_000) -> LineMessage:
    """One appointment message of either side."""
    offer = ScheduledOffer(offer_id=OFFER, start_utc_seconds=at, minutes=50, note=Plaintext(""))
    made = encode_scheduled_offer(offer)
    return LineMessage(
        mine=mine,
        sender_device=bytes(16),
        counter=1,
        item_id=ItemId(b""),
        kind=kind,
        version=1,
        utc_seconds=NOW,
        body=made if kind is PayloadKind.OFFER_SCHEDULED else Plaintext(OFFER),
        state=None,
    )


@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize(
    ("kind", "by_maker", "state"),
    [
        (PayloadKind.OFFER_CANCEL, True, OfferState.CANCELLED),
        (PayloadKind.OFFER_CANCEL, False, OfferState.OFFERED),
        (PayloadKind.OFFER_DECLINE, True, OfferState.OFFERED),
        (PayloadKind.OFFER_DECLINE, False, OfferState.DECLINED),
    ],
)
def test_only_the_maker_cancels_and_only_the_other_side_declines(
    mine: bool, kind: PayloadKind, by_maker: bool, state: OfferState
) -> None:
    offers = list_offers(
        [said(PayloadKind.OFFER_SCHEDULED, mine=mine), said(kind, mine=mine is by_maker)], now=NOW
    )
    assert [(offer.state, offer.sender) for offer in offers] == [(state, "me" if mine else "them")]


@pytest.mark.parametrize(("mine", "at"), [(True, 3_000), (False, 2_000)])
def test_only_the_maker_changes_an_appointment(mine: bool, at: int) -> None:
    first = said(PayloadKind.OFFER_SCHEDULED, mine=True)
    offers = list_offers([first, said(PayloadKind.OFFER_SCHEDULED, mine=mine, at=3_000)], now=NOW)
    assert [(offer.at, offer.sender) for offer in offers] == [(at, "me")]
