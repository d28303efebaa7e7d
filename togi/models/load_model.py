"""load_model: from a source in text to a model, its tokenizer and every token that ends its turn.

It knows no run, no recipe and no algorithm. No code that comes with a model is ever run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import DryRunError, HfHubHTTPError, HFValidationError
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from togi.models.adapters import add_adapter, peft_library
from togi.models.bundled import BUNDLED, Progress, bundled, silent
from togi.models.chosen_template import OWN, ChosenTemplate, read_template
from togi.models.device import find_device
from togi.models.four_bits import KIND, bitsandbytes, quantise, weights_of
from togi.models.lora_and_optimiser import Lora
from togi.models.made_model import made_model
from togi.models.model_source import HUB_ID, check_shape, check_source, is_function, newest_model
from togi.models.read_weights import quiet, read_folder, read_gguf, read_shape, read_tokenizer
from togi.models.thought_head import ThoughtHead, load_thoughts, thinks
from togi.models.untrusted_model import check_adapter, check_listing, check_model, check_texts
from togi.models.weight_files import ModelError, digest, weight_files
from togi.template_process import TemplateError, get_ready, render

__all__ = ["Loaded", "Lora", "ModelError", "load_model"]

# Configuration and tokenizer, then weights; never Python files.
_HUB_TEXTS, _HUB_WEIGHTS = ["*.json", "*.jinja", "*.txt", "*.model"], ["*.safetensors"]
# A second copy of the weights in another layout.
_HUB_COPIES = ["consolidated*", "original/*", "onnx/*"]
CHAT_TEMPLATE = "chat_template.jinja"
NARROW_BASE = "base_in_4_bits.json"  # beside an adapter whose base was kept so
BASE_FOLDER = "base"  # in an exported adapter: the weights it was trained on, where no other tool could find them
_ANSWER = "\ufdd2answer\ufdd3"
# Models without a position table or limit say nothing; a run's own limits then hold.
NO_LIMIT = 1 << 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A model ready to use, in evaluation mode.

    ``model`` is the transformers model, or peft's wrapper of it whose adapter alone requires gradients. ``eos_ids``
    are all tokens that end its turn, ``context`` the most tokens it can see, ``digest`` a SHA-256 of the weights'
    files, ``parameters`` how many there are (tied ones once). ``thoughts`` is the head of one that learned to think
    before every token.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    eos_ids: frozenset[int]
    context: int
    source: str
    digest: str
    parameters: int
    thoughts: ThoughtHead | None = None


def load_model(
    source: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    lora: Lora | None = None,
    template: ChosenTemplate = OWN,
    seed: int = 0,
    progress: Progress = silent,
) -> Loaded:
    """Load from a bundled name, a folder of safetensors, a ``.gguf`` file, an adapter folder, a run folder (its newest
    model), a hub id ``owner/name``, or a function ``file.py:function`` that makes a model of random weights, drawn from
    ``seed``; a local path goes before a hub id. ``device`` is where the weights are put, by a
    name that ``find_device`` reads. ``lora`` adds fresh adapters, or must agree with those that are there.
    ``template`` changes its chat template. Raises
    ModelError: what is wrong with the source and what to do; ValueError for a device that is not there.
    """
    there = find_device(device)
    check_source(source)
    get_ready()
    path = newest_model(Path(source))
    if is_function(source):
        if lora:
            raise ModelError(
                f"{source} makes new weights, which an adapter would leave as they are: leave out model.lora"
            )
        model, tokenizer, hashed = made_model(source, seed)
    elif (path / "adapter_config.json").is_file():
        model, tokenizer, hashed = _read_adapter(path, dtype, there, lora, progress)
    else:
        model, tokenizer, hashed = _read_base(source, path, dtype, there, progress, narrow=_narrow(lora))
        if lora:
            model = add_adapter(model, lora, source if source in BUNDLED or not path.exists() else str(path.resolve()))
    for weight in model.parameters():  # peft makes those of adapters float32
        if weight.is_floating_point():
            weight.data = weight.data.to(dtype)
    thoughts = load_thoughts(path, model) if thinks(path) else None
    return _loaded(model.to(there), tokenizer, source, hashed, template, thoughts)


def load_shape(source: str, *, template: ChosenTemplate = OWN, progress: Progress = silent) -> Loaded:
    """A model whose weights are elsewhere: what ``load_model`` would give, but the module has no numbers (it is on
    torch's ``meta`` device), and the digest is that of configuration and tokenizer. From a bundled name, a folder, or a
    hub id, of which no weights are fetched. Raises ModelError."""
    check_shape(source)
    get_ready()
    path = Path(source)
    if not path.is_dir():
        path = bundled(source, progress=progress) if source in BUNDLED else _from_hub(source, progress, weights=False)
    model, tokenizer = read_shape(path)
    return _loaded(model, tokenizer, source, digest(sorted(path.glob("*.json"))), template, None)


def _loaded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    source: str,
    hashed: str,
    template: ChosenTemplate,
    thoughts: ThoughtHead | None,
) -> Loaded:
    tokenizer.chat_template = template.over(tokenizer.get_chat_template() if tokenizer.chat_template else None)
    eos_ids = _eos_ids(model, tokenizer)
    model.generation_config = _generation(model.generation_config, sorted(eos_ids))
    return Loaded(
        model=model.eval(),
        tokenizer=tokenizer,
        eos_ids=eos_ids,
        context=_context(model),
        source=source,
        digest=hashed,
        parameters=weights_of(model),
        thoughts=thoughts,
    )


def load_tokenizer(
    source: str, template: ChosenTemplate = OWN, seed: int = 0, progress: Progress = silent
) -> tuple[PreTrainedTokenizerBase, int]:
    """The tokenizer of a source as ``load_model`` has it, and the most tokens that the model sees, without its weights;
    only a function that makes a model has to make it. Raises ModelError."""
    check_source(source)
    get_ready()
    path = newest_model(Path(source))
    if is_function(source):
        model, tokenizer, _ = made_model(source, seed)
        context: int | None = _context(model)
    elif (path / "adapter_config.json").is_file():
        base = _base_of(path)
        tokenizer, context = load_tokenizer(base, OWN, seed, progress)
        if (path / CHAT_TEMPLATE).is_file():
            tokenizer.chat_template = read_template(path / CHAT_TEMPLATE)
    else:
        if not path.exists():
            path = (
                bundled(source, progress=progress) if source in BUNDLED else _from_hub(source, progress, weights=False)
            )
        tokenizer, context = read_tokenizer(path)
    tokenizer.chat_template = template.over(tokenizer.get_chat_template() if tokenizer.chat_template else None)
    return tokenizer, context or NO_LIMIT


def _narrow(lora: Lora | None) -> bool:
    return lora is not None and lora.base == KIND


def _read_base(
    source: str, path: Path, dtype: torch.dtype, device: torch.device, progress: Progress, *, narrow: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """``narrow`` puts its linear layers into 4 bits; until then no weight takes more than two bytes."""
    if not narrow:
        return _read_whole(source, path, dtype, progress)
    bitsandbytes()
    model, tokenizer, hashed = _read_whole(source, path, torch.bfloat16, progress)
    quantise(model, device)
    return model.to(device), tokenizer, hashed


def _read_whole(
    source: str, path: Path, dtype: torch.dtype, progress: Progress
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    if source in BUNDLED and not path.exists():
        # The folder was verified against this file's checksum when it was resolved.
        return (*read_folder(bundled(source, progress=progress), dtype), BUNDLED[source].sha256)
    if path.suffix == ".gguf":
        return (*read_gguf(path, dtype), digest([path]) if path.is_file() else "")
    if not path.exists() and HUB_ID.fullmatch(source):
        path = _from_hub(source, progress)
        check_model(path)
    if not path.is_dir():
        raise ModelError(
            f"there is no model {source!r}: wanted a bundled name ({', '.join(BUNDLED)}), a folder with safetensors, "
            "a .gguf file, an adapter folder, a run folder, or a hub id such as org/name"
        )
    return (*read_folder(path, dtype), digest(weight_files(path)))


def _from_hub(source: str, progress: Progress, *, weights: bool = True) -> Path:
    """The local snapshot of a hub repository; nothing is asked of the network but what this id names. Its weights are
    fetched, if they are wanted, once their sizes and its other files were found sound."""
    progress(f"fetching {source} from the hub")
    fetch = partial(snapshot_download, source, ignore_patterns=_HUB_COPIES)
    everything = [*_HUB_TEXTS, *(_HUB_WEIGHTS if weights else ())]
    with quiet():
        try:
            with suppress(DryRunError):  # without the network: what was fetched once is checked like any folder
                told = snapshot_download(source, allow_patterns=everything, ignore_patterns=_HUB_COPIES, dry_run=True)
                check_listing(source, {file.filename: file.file_size or 0 for file in told})
                check_texts(Path(fetch(allow_patterns=_HUB_TEXTS)))
            return Path(fetch(allow_patterns=everything))
        except ModelError:
            raise
        except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"there is no folder {source}, and the hub could not give a model of that name: {reason}. "
                "Check the name and the network, or give a local folder"
            ) from error


def _read_adapter(
    path: Path, dtype: torch.dtype, device: torch.device, lora: Lora | None, progress: Progress
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """A base model with the trained adapter of a folder on it; training may go on."""
    config = check_adapter(path)
    if lora and (config["r"], config["lora_alpha"]) != (lora.rank, lora.alpha):
        raise ModelError(
            f"{path} is an adapter of rank {config['r']} and alpha {config['lora_alpha']}, wanted rank {lora.rank} and "
            f"alpha {lora.alpha}: ask for the same, or export it merged and start from that"
        )
    narrow = (path / NARROW_BASE).is_file()
    if lora and narrow != _narrow(lora):
        known, wanted = ("nf4", "full") if narrow else ("full", "nf4")
        raise ModelError(
            f'the adapter {path} was learned with model.lora.base "{known}", wanted "{wanted}": ask for the same, or '
            "export it merged and start from that"
        )
    base = _base_of(path)
    base_path = Path(base)
    check_source(base)
    model, tokenizer, hashed = _read_base(base, base_path, dtype, device, progress, narrow=narrow)
    if (path / CHAT_TEMPLATE).is_file():
        tokenizer.chat_template = read_template(path / CHAT_TEMPLATE)
    peft = peft_library()
    with quiet():
        try:
            model = peft.PeftModel.from_pretrained(model, str(path), is_trainable=True)
            model.peft_config["default"].base_model_name_or_path = base
        except Exception as error:
            # The boundary to a foreign file, as for weights.
            raise ModelError(f"the adapter {path} does not fit its base {base}: {error}") from error
    files = [path / "adapter_model.safetensors", *([path / NARROW_BASE] if narrow else [])]
    both = f"{hashed} {digest(files)}"
    return model, tokenizer, hashlib.sha256(both.encode()).hexdigest()


def _base_of(path: Path) -> str:
    """The source of an adapter's base."""
    base = str(check_adapter(path)["base_model_name_or_path"])
    if (path / BASE_FOLDER).is_dir():  # an exported adapter that was moved with its base
        base = str((path / BASE_FOLDER).resolve())
    if (Path(base) / "adapter_config.json").is_file():
        raise ModelError(f"the base of the adapter {path} is itself an adapter, {base}: export that one merged first")
    return base


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The generation configuration's, the tokenizer's, and the one with which the chat template ends an answer."""
    found: set[int] = set()
    configured: int | Sequence[int] | None = model.generation_config.eos_token_id
    if configured is not None:
        found |= {configured} if isinstance(configured, int) else set(configured)
    if tokenizer.eos_token_id is not None:
        found.add(int(tokenizer.eos_token_id))
    if tokenizer.chat_template:
        found |= _template_end(tokenizer)
    if not found:
        raise ModelError("the model names no end-of-sequence token: set eos_token_id in its generation_config.json")
    return frozenset(found)


def _template_end(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _ANSWER}]
    try:
        rendered = render(
            tokenizer.get_chat_template(), messages, generation=False, variables=tokenizer.special_tokens_map
        )
    except TemplateError as error:
        raise ModelError(f"the model's chat template fails on a question and an answer: {error}") from error
    after = rendered.rpartition(_ANSWER)[2].lstrip()
    first = tokenizer.encode(after, add_special_tokens=False)[:1]
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return set(first) & special


def _generation(config: GenerationConfig, eos_ids: list[int]) -> GenerationConfig:
    """With every end token, so that an export stops at them under other tools too.

    Many models carry settings that contradict each other (a temperature, but no sampling): transformers reads them,
    ignores the idle ones, and refuses to write them. Of such only the token ids are kept.
    """
    config.eos_token_id = eos_ids
    try:
        config.validate(strict=True)
    except ValueError:
        return GenerationConfig(
            bos_token_id=config.bos_token_id, eos_token_id=eos_ids, pad_token_id=config.pad_token_id
        )
    return config


def _context(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    return int(config.max_position_embeddings) if hasattr(config, "max_position_embeddings") else NO_LIMIT
