"""Where is the model? Folders of transformers' own format, the trained models that ship with the course, and the hub.

A shipped folder also holds `made.json`: the loop that made the model, its settings, its seed and its measured quality.
Left out: how they are made, which is `rlcore.loops.checkpoints`.
"""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

SHIPPED = Path(__file__).parent / "checkpoints"
REMAKE = "python -m rlcore.loops.checkpoints"


def save(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path | str, made: dict[str, Any] | None = None
) -> None:
    """Write model and tokenizer into a folder, in half precision: two bytes for each parameter.

    Args:
        model: a causal language model, or one from `scalar`; it stays as it is.
        made:  how it was made, written beside it as `made.json`.
    """
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    copy.deepcopy(model).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if made is not None:
        text = json.dumps(made, indent=2, ensure_ascii=False)
        (Path(folder) / "made.json").write_text(text + "\n", encoding="utf-8")
    if bar:
        logging.enable_progress_bar()


def load(where: Path | str, *, hub: bool = False) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A model and its tokenizer, from a folder; from the Hugging Face hub only if you say so.

    Args:
        where: a folder that `save` or `save_pretrained` wrote, or a hub model's name.
        hub:   True looks on the hub, and downloads, where no such folder is.
    Returns: a causal language model, or one from `scalar`, in float32 and in evaluation mode; its tokenizer.
    Raises:  ValueError naming what is missing or damaged.
    """
    if not hub and not Path(where).is_dir():
        raise ValueError(f"where is {str(where)!r}, expected a folder; a hub model's name needs hub=True and internet")
    try:
        config = AutoConfig.from_pretrained(where, local_files_only=not hub)
        judge = "ForTokenClassification" in "".join(config.architectures or [])
        model = _model(AutoModelForTokenClassification if judge else AutoModelForCausalLM, where, hub)
        tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=not hub, padding_side="left")
    except Exception as reason:
        raise ValueError(f"where is {str(where)!r}, expected a whole model with its tokenizer: {reason}") from reason
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def shipped(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A trained model that comes with the course, and its tokenizer; `made(name)` says how it came about.

    Raises: ValueError naming the folder, what is wrong with it, and the command that makes it anew.
    """
    try:
        return load(SHIPPED / name)
    except ValueError as reason:
        there = ", ".join(sorted(path.name for path in SHIPPED.glob("*/"))) or "none"
        raise ValueError(
            f"checkpoint {name!r} cannot be loaded; make it anew with: {REMAKE} {name}   (there are: {there})\n{reason}"
        ) from reason


def made(name: str) -> dict[str, Any]:
    """How a shipped model was made, and how good it was then."""
    return json.loads((SHIPPED / name / "made.json").read_text(encoding="utf-8"))


def _model(kind: type, where: Path | str, hub: bool) -> PreTrainedModel:
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, told = kind.from_pretrained(
            where, dtype=torch.float32, local_files_only=not hub, output_loading_info=True
        )
    finally:
        if bar:
            logging.enable_progress_bar()
    if told["missing_keys"]:  # they would be drawn at random, with a warning at most
        raise ValueError(f"parameters missing: {', '.join(sorted(told['missing_keys']))}")
    return model
