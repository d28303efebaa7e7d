"""A program that asks a model, as users have them; ``test_program_env.py`` runs it. It knows nothing of Togi."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


def main() -> None:
    task = json.load(sys.stdin)
    messages = [{"role": "user", "content": f"{task['prompt'][0]['content']} at level {task['level']}"}]
    request = urllib.request.Request(
        f"{os.environ['OPENAI_BASE_URL']}/chat/completions",
        json.dumps({"model": os.environ["OPENAI_MODEL"], "messages": messages}).encode(),
        {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
    )
    urllib.request.urlopen(request).read()
    match sys.argv[1]:
        case "pay":
            Path(os.environ["REWARD_FILE"]).write_text("0.5\n")
        case "print":
            print('{"reward": 42}\n42')
        case "flood":
            for stream in (sys.stdout, sys.stderr):
                print("x" * 30_000_000, file=stream)
            Path(os.environ["REWARD_FILE"]).write_text("0.25")
        case "fail":
            print("it broke", file=sys.stderr)
            sys.exit(7)
        case "text":
            Path(os.environ["REWARD_FILE"]).write_text("much")
        case "nan":
            Path(os.environ["REWARD_FILE"]).write_text("nan")
        case "hang":
            time.sleep(1000)


def play(task: Any, base_url: str, api_key: str) -> None: ...


if __name__ == "__main__":
    main()
