"""The crisis numbers are exactly those that were checked, each with its source and date."""

from clients.terminal import crisis


def test_numbers_sources_and_dates() -> None:
    assert [(line.number, line.how, line.source, line.date) for line in crisis.CRISIS_LINES] == [
        ("0311-7786264", "", "hourstv.com", "undated"),
        ("1166", "toll-free", "tribune.com.pk/story/2412003", "April 2023"),
        ("15", "then 7", "express.pk/story/2797626", "January 2026"),
    ]


def test_text_card_names_every_number_with_source_and_date() -> None:
    text = crisis.as_text()
    for line in crisis.CRISIS_LINES:
        assert line.number in text
        assert f"source: {line.source} ({line.date})" in text
    assert crisis.TITLE_URDU in text
