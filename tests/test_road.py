"""The road by command, for models of today: preview, sft, grpo, export, and back into tools that do not know Togi."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_text import byte_level
from toy_models import toy_model

from togi.cli import run_command
from togi.models.load_model import load_model

# Windows and caps; windows in some layers, and a template with a switch; experts; experts behind a window.
KINDS = ("gemma2", "gemma3_text", "qwen3", "qwen3_moe", "mixtral")
THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
RECIPE = """
name = "road"
[model]
source = "base"
dtype = "float32"
{lora}
[prompt]
template_args = {{ enable_thinking = false }}
[data.train]
file = "rows.jsonl"
[reward]
score = "python('paid.py:letters')"
[grading]
tier = "process"
[sampling]
max_tokens = 8
[[stage]]
algorithm = "sft"
steps = 2
tasks_per_step = 4
learning_rate = 1e-3
[[stage]]
algorithm = "grpo"
attempts = 4
steps = 2
tasks_per_step = 3
learning_rate = 1e-3
"""
PAID = "def letters(task, completion):\n    return len(set(completion)) / 9\n"
ELSEWHERE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, adapter, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
asked = [{"role": "user", "content": "say a word"}]
prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
models = [AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)]
if adapter:
    from peft import AutoPeftModelForCausalLM
    models.append(AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32))
with torch.no_grad():
    logits = [model(input_ids=ids).logits for model in models]
torch.save({"ids": ids, "logits": torch.cat(logits)}, out)
assert "togi" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.parametrize("lora", ["", "lora = { rank = 2, alpha = 4 }"], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_road(kind: str, lora: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy_model(kind, vocab_size=400, bos_token_id=0, eos_token_id=2).save_pretrained("base")
    byte_level(THINKS).save_pretrained("base")
    words = ("red", "blue", "green", "black")
    rows = [{"prompt": f"say {word}", "completion": word, "answer": word} for word in words]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("paid.py").write_text(PAID)
    Path("road.toml").write_text(RECIPE.format(lora=lora))

    assert run_command(["preview", "road.toml"]) in (0, 1)
    for command in ("train road.toml", "verify runs/road", "report runs/road", "export runs/road out"):
        assert run_command(command.split()) == 0, command
    if lora:
        assert run_command(["export", "runs/road", "kept", "--adapter"]) == 0
    command = [sys.executable, "-c", ELSEWHERE, "out", "kept" if lora else "", "seen.pt"]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=offline, check=False)
    assert done.returncode == 0, done.stderr

    seen = torch.load("seen.pt", weights_only=True)
    ours, base = load_model("runs/road"), load_model("base")
    assert ours.tokenizer.decode(seen["ids"][0]).endswith("<think>\n\n</think>\n\n")
    with torch.no_grad():
        wanted, before = (loaded.model(input_ids=seen["ids"]).logits for loaded in (ours, base))
    for logits in seen["logits"]:
        torch.testing.assert_close(logits[None], wanted, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(wanted, before, atol=1e-2), "something was learned"
