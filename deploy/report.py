"""Prints what the boards answered: report.py deploy|status yes|no FOLDER. Exit 1 when one failed, 75 when one is missing."""

import json
import sys
from pathlib import Path

MISSING = {"lost", "waiting", "busy"}
FINE = {"updated", "current", "planned", "promoted", "rolled back"}


def table(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def status_row(board):
    agent = board.get("agent") or {}
    state = agent.get("state") or {}
    model = (state.get("model") or {}).get("name") or board.get("model") or "-"
    speed = (state.get("speed") or {}).get("decode_tokens_per_second") or board.get("tokens_per_second")
    heat = state.get("temperature_c")
    memory = board.get("memory_bytes") or (state.get("memory") or {}).get("engine_rss_bytes")
    return [
        board["host"],
        board.get("version", "-"),
        model,
        board.get("service", "-") + (" (unconfirmed)" if board.get("pending") else ""),
        agent.get("availability", "-"),
        "-" if speed is None else f"{speed:.1f}",
        "-" if heat is None else f"{heat:.0f} °C",
        "-" if memory is None else f"{memory / 2**20:.0f} MiB",
        (state.get("queue") or {}).get("answered", "-"),
        state.get("last_answer_at", "-"),
    ]


def main(kind, as_json, folder):
    boards = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    bus = Path(folder, ".mqtt")
    if bus.exists():
        seen = {agent["device"]: agent for agent in json.loads(bus.read_text())}
        for board in boards:
            board["agent"] = seen.pop(board.get("device", board["host"]), None) or board.get("agent")
        boards += [{"host": device, "service": "not in the inventory", "agent": agent} for device, agent in seen.items()]
    if as_json == "yes":
        print(json.dumps(boards, indent=1, ensure_ascii=False))
    elif kind == "status":
        header = ["board", "version", "model", "service", "on the bus", "tokens/s", "heat", "memory", "answered", "last answer"]
        table(header, [status_row(board) for board in boards])
    else:
        table(["board", "was", "result", "detail"], [[b["host"], b.get("was", ""), b["result"], b["detail"]] for b in boards])
    if kind == "status":
        return 0 if boards and all(b.get("service") == "active" for b in boards) else 1
    results = {b["result"] for b in boards}
    return 1 if results - FINE - MISSING or not results else 75 if results & MISSING else 0


sys.exit(main(*sys.argv[1:4]))
