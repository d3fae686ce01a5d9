"""A replay's report, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from clients.replay.outcome import Outcome, Report


def as_json(report: Report) -> str:
    """One JSON object. Findings say what and where, never the content."""
    return json.dumps(_document(report), indent=2, ensure_ascii=False)


def _document(report: Report) -> dict[str, Any]:
    outcomes = report.outcomes
    findings = Counter(
        (finding.where, finding.kind.value, finding.encoding.value, finding.conversation)
        for finding in report.findings
    )
    return {
        "ok": report.good,
        "time_scale": report.time_scale,
        "seconds": report.seconds,
        "messages": {
            "sent": sum(outcome.sent for outcome in outcomes),
            "delivered": sum(outcome.delivered for outcome in outcomes),
            "in_order": all(outcome.in_order for outcome in outcomes),
            "identical": all(outcome.identical for outcome in outcomes),
        },
        "conversations": [_conversation(outcome) for outcome in outcomes],
        "relay": {
            "cells_seen_by_bytes": {str(size): count for size, count in sorted(report.cells_by_size.items())},
            "frames_unreadable": report.unreadable_frames,
            "findings": {
                place: sum(1 for finding in report.findings if finding.where == place)
                for place in report.searched
            },
            "findings_by_kind": [
                {"where": where, "kind": kind, "encoding": encoding, "conversation": number, "count": count}
                for (where, kind, encoding, number), count in sorted(findings.items())
            ],
            "bytes_searched": dict(report.searched),
            "searched_for": dict(report.needles),
            "too_short_to_search_for": report.too_short,
            "not_counted_because_there_before": report.already_there,
            "control": {"sought": report.control[0], "found": report.control[1]},
            "cells_left": report.left.cells,
            "drops_left": report.left.drops,
            "bytes_left": report.left.bytes,
        },
        "live_session_disk_bytes": report.live_disk_bytes,
        "live_session_disk_method": report.live_disk_method or None,
        "live_session_disk_files": dict(report.live_disk_files),
    }


def _conversation(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.conversation,
        "store": outcome.store.value,
        "sent": outcome.sent,
        "delivered": outcome.delivered,
        "in_order": outcome.in_order,
        "identical": outcome.identical,
        "seconds": outcome.seconds,
        "trouble": outcome.trouble or None,
    }


def as_text(report: Report) -> str:
    """The same for a person: what went wrong conversation by conversation, the rest in sums."""
    document = _document(report)
    messages, relay = document["messages"], document["relay"]
    lines = [
        f"conversation {outcome.conversation} ({outcome.store.value}): "
        f"{outcome.delivered} of {outcome.sent} delivered"
        f"{'' if outcome.in_order else ', out of order'}{'' if outcome.identical else ', not identical'}"
        f"{'. ' + outcome.trouble if outcome.trouble else ''}"
        for outcome in report.outcomes
        if not outcome.good
    ]
    sizes = ", ".join(f"{count:,} of {int(size):,} bytes" for size, count in report.cells_by_size.items())
    searched = ", ".join(f"{place} {size:,} bytes" for place, size in report.searched.items())
    needles = ", ".join(f"{count:,} x {kind}" for kind, count in report.needles.items())
    found = ", ".join(f"{place} {count}" for place, count in relay["findings"].items())
    lines += [
        (
            f"messages        {messages['sent']:,} sent, {messages['delivered']:,} delivered, "
            f"{'in order' if messages['in_order'] else 'NOT in order'}, "
            f"{'byte-identical' if messages['identical'] else 'NOT identical'} "
            f"({len(report.outcomes)} conversations)"
        ),
        f"cells seen      {sizes or 'none'}",
        f"searched        {searched}",
        f"searched for    {needles}, raw, in hex, base64 and UTF-16"
        + (f"; {report.too_short} were too short" if report.too_short else ""),
        f"control         {report.control[1]} of {report.control[0]} values found that the relay was told",
        f"findings        {found}",
        *(f"                {entry}" for entry in relay["findings_by_kind"]),
        (
            f"left at relay   {relay['cells_left']} cells, {relay['drops_left']} drops, "
            f"{relay['bytes_left']:,} bytes after the last acknowledgement"
        ),
    ]
    if report.live_disk_bytes is not None:
        lines.append(
            f"live on disk    {report.live_disk_bytes:,} bytes written for live sessions "
            f"(relay and session processes, measured by {report.live_disk_method})"
        )
        lines += [f"                {size:,} bytes: {name}" for name, size in report.live_disk_files.items()]
    lines.append(f"time            {report.seconds:.0f} s, delays {report.time_scale:g} times as fast")
    lines.append("All promises kept." if report.good else "NOT all promises kept: see above.")
    return "\n".join(lines)
