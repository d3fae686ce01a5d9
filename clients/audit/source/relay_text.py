"""What the relay's program can write: its tables, column by column, and everything that prints or logs."""

from __future__ import annotations

import ast
import sqlite3
from typing import Final

from clients.audit.model import Finding, judge
from clients.audit.registry import check
from clients.audit.source.trees import calls, modules
from clients.audit.store.allowed import TABLES, columns_of
from clients.audit.target import Target

LOUD: Final = frozenset(
    {
        "print", "pprint", "warnings.warn", "breakpoint", "sys.stdout.write", "sys.stderr.write",
        "traceback.print_exc", "traceback.print_exception", "traceback.format_exc", "traceback.print_stack",
        "sys.excepthook", "syslog.syslog", "os.write", "faulthandler.enable", "faulthandler.dump_traceback",
    }
)  # fmt: skip
LOGGERS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
ALLOWED: Final = frozenset(
    {
        ("chatserver.main", "_run"), ("chatserver.main", "_serve_until_stopped"),
        ("chatserver.main", "_complain"), ("chatserver.events", "_to_stderr"),
    }
)  # fmt: skip
"""(module, function) of a serving relay that may write: its ready line, why it ends, and the log itself."""
COMMANDS: Final = frozenset({"chatserver.errands"})
"""Modules whose functions answer an operator's command in a terminal, and of which no connection knows."""


@check("source.schema")
def schema(target: Target) -> Finding:
    """Run the `CREATE` statements of the relay's store in an empty database and compare every column."""
    statements = [
        node.value
        for module in modules(target.tree, "chatserver").values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.lstrip().upper().startswith(("CREATE TABLE", "ALTER TABLE", "CREATE INDEX"))
    ]
    with sqlite3.connect(":memory:") as database:
        for statement in statements:
            database.execute(statement)
        found = columns_of(database)
    database.close()
    faults = [f"{table}.{column}" for table in found for column in found[table] - TABLES.get(table, set())]
    faults += [f"no table {table}" for table in TABLES if table not in found]
    return judge(
        sorted(faults),
        "The store has no column for a name, an address or a time finer than a day.",
        "The store's tables have columns that nobody has allowed.",
        f"{sum(len(columns) for columns in found.values())} columns of {len(found)} tables",
    )


@check("source.log-calls")
def log_calls(target: Target) -> Finding:
    """Every call in the relay's program that could write to a log or a terminal."""
    faults, seen = [], 0
    for name, module in modules(target.tree, "chatserver").items():
        for called, call, inside in calls(module):
            if not _is_loud(called):
                continue
            seen += 1
            if (name, inside) not in ALLOWED and name not in COMMANDS:
                faults.append(f"{name}:{call.lineno} calls {called}")
    return judge(
        faults,
        "The relay's program writes to its log only through a list of events that carry numbers.",
        "The relay's program writes elsewhere than through its list of events.",
        f"{seen} calls that write, each in a place that may" if not faults else f"{seen} calls",
    )


def _is_loud(called: str) -> bool:
    if called in LOUD:
        return True
    before, _, last = called.rpartition(".")
    return last in LOGGERS and before.rpartition(".")[2].lstrip("_") in {
        "logging",
        "logger",
        "logs",
        "syslog",
    }
