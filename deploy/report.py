"""Prints what came of a command on every board: report.py COMMAND yes|no FOLDER (yes: as JSON).

Exit 0 when all is well, 1 when one board failed, 75 when the only trouble is boards that are lost, busy or waiting.
"""

import json
import re
import sys
from pathlib import Path

FINE = {"updated", "current", "planned", "promoted", "rolled back", "in force", "collected", "done"}
MISSING = {"lost", "waiting", "busy"}
# Ansible says the same three sentences before the one that tells what ssh met.
SSH = re.compile(r"^(?:Data could not be sent|Failed to connect).*?\bvia ssh: |^Data could not be sent.*?over ssh: ", re.S)
HASH = re.compile(r"([0-9a-f]{12})[0-9a-f]{52}(\.gguf)?$")


def table(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def status_of(board):
    """One board as the table and --json show it, from what SSH and its agent said."""
    agent = board.get("agent") or {}
    state = agent.get("state") or {}
    heard = agent.get("availability")
    on_bus = heard or "-"
    healthy = board.get("service") == "active" and heard == "online" and not board.get("pending")
    return {
        "host": board["host"],
        "healthy": healthy,
        "version": board.get("version") or state.get("version"),
        "model": (state.get("model") or {}).get("name") or board.get("model") or None,
        "model_state": (state.get("model") or {}).get("state"),
        "service": board.get("service", "-"),
        "unconfirmed": bool(board.get("pending")),
        "on_bus": on_bus,
        "tokens_per_second": (state.get("speed") or {}).get("decode_tokens_per_second") or board.get("tokens_per_second"),
        "temperature_c": state.get("temperature_c"),
        "memory_bytes": board.get("memory_bytes") or (state.get("memory") or {}).get("engine_rss_bytes"),
        "answered": (state.get("queue") or {}).get("answered"),
        "last_answer_at": (state.get("queue") or {}).get("last_answer_at"),
        "releases": board.get("releases"),
        "update": {"phase": board.get("phase"), "detail": board.get("detail")} if board.get("phase") else None,
        "detail": board.get("status_text") or "",
    }


def cell(value, text="{}"):
    return "-" if value is None else text.format(value)


def short(detail):
    return HASH.sub(r"\1…", SSH.sub("", detail)).split("\n")[0]


def status_row(board):
    memory = board["memory_bytes"]
    return [
        board["host"],
        cell(board["version"]),
        HASH.sub(r"\1…", cell(board["model"])),
        board["service"] + (" (unconfirmed)" if board["unconfirmed"] else ""),
        board["on_bus"],
        cell(board["tokens_per_second"], "{:.1f}"),
        cell(board["temperature_c"], "{:.0f} °C"),
        cell(None if memory is None else memory / 2**20, "{:.0f} MiB"),
        cell(board["answered"]),
        (board["last_answer_at"] or "-")[:19],
        "" if board["healthy"] else short(board["detail"])[:80],
    ]


def with_bus(boards, bus):
    """Adds what the broker said: it knows agents without SSH, and agents that are not in the inventory."""
    seen = {agent["device"]: agent for agent in json.loads(bus.read_text())}
    for board in boards:
        device = (board.get("agent") or {}).get("device", board["host"])
        board["agent"] = seen.pop(device, None) or board.get("agent")
    return boards + [{"host": device, "service": "not in the inventory", "agent": agent} for device, agent in seen.items()]


def status(boards, as_json, folder):
    bus = Path(folder, ".mqtt")
    if bus.exists():
        boards = with_bus(boards, bus)
    rows = [status_of(board) for board in boards]
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif rows:
        header = ["board", "version", "model", "service", "on the bus", "tokens/s", "heat", "memory", "answered", "last answer", ""]
        table(header, [status_row(row) for row in rows])
    return 0 if rows and all(row["healthy"] for row in rows) else 1


def outputs(boards):
    for board in boards:
        print(f"── {board['host']}: {board['result']}{', ' + board['detail'] if board['detail'] else ''}")
        for stream in ("stdout", "stderr"):
            if board.get(stream):
                print(board[stream])


def main(command, as_json, folder):
    as_json = as_json == "yes"
    boards = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    if command == "status":
        return status(boards, as_json, folder)
    asked = Path(folder, ".boards")
    heard = {board["host"] for board in boards}
    if asked.exists():
        boards += [
            {"host": host, "was": "", "result": "left alone", "detail": ""}
            for host in asked.read_text().split()
            if host not in heard
        ]
    if as_json:
        print(json.dumps(boards, indent=1, ensure_ascii=False))
    elif command == "exec":
        outputs(boards)
    elif boards:
        table(["board", "was", "result", "detail"], [[b["host"], b.get("was", ""), b["result"], short(b["detail"])] for b in boards])
    results = {board["result"] for board in boards} - {"left alone"}
    return 1 if results - FINE - MISSING or not results else 75 if results & MISSING else 0


sys.exit(main(*sys.argv[1:4]))
