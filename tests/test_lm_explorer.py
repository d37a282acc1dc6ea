"""The sampling explorer's numbers against the model itself, one token at a time."""

import math
import re

import pytest
import torch

from rlcore import lm
from rlcore.view.explore import sampling
from rlcore.worlds import replies

MODEL, TOKENIZER = sampling.policy()


def plain(prompt: str, begun: str) -> list[float]:
    """The model's probabilities of the next token, from one pass over the bare text."""
    text = prompt if begun == sampling.NOTHING else f"{prompt} {begun}"
    with torch.no_grad():
        logits = MODEL(input_ids=torch.tensor([TOKENIZER(text)["input_ids"]])).logits[0, -1].tolist()
    top = max(logits)
    weights = [math.exp(z - top) for z in logits]
    return [w / sum(weights) for w in weights]


def heated(chances: list[float], temperature: float, top_k: int) -> list[float]:
    """p^(1/T) of the k likeliest, normalised."""
    edge = sorted(chances, reverse=True)[top_k - 1]
    weights = [c ** (1 / temperature) if c >= edge else 0.0 for c in chances]
    return [w / sum(weights) for w in weights]


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, sampling.TOKENS), (0.5, 40), (2.0, 5), (0.2, 1), (3.0, 12)])
@pytest.mark.parametrize("begun", sampling.BEGUN)
def test_the_bars_are_the_models_probabilities_to_the_power_of_one_over_t(begun, temperature, top_k):
    spoken, model = sampling.speak(sampling.PROMPTS[1], begun, temperature, top_k), plain(sampling.PROMPTS[1], begun)
    assert spoken.plain.tolist() == pytest.approx(model, abs=1e-6)
    wanted = heated(model, temperature, top_k)
    assert spoken.chances.tolist() == pytest.approx(wanted, abs=1e-5)
    assert spoken.entropy == pytest.approx(-sum(p * math.log(p) for p in wanted if p), abs=1e-4)


def test_every_token_of_the_vocabulary_counts():
    assert len(TOKENIZER) == sampling.TOKENS
    assert set(sampling.PROMPTS) <= set(replies.PROMPTS)


def test_the_samples_are_made_of_tokens_that_can_come():
    """Step by step: each word of each sample is among the k likeliest after what stands before it."""
    prompt, begun, k = sampling.PROMPTS[2], "please", 3
    for text in sampling.speak(prompt, begun, 1.5, k).said:
        before = begun
        for word in text.removesuffix(" …").split():
            chances = plain(prompt, before)
            rank = sorted(chances, reverse=True).index(chances[TOKENIZER.convert_tokens_to_ids(word)])
            assert rank < k, (before, word)
            before = f"{before} {word}"


def test_the_likeliest_token_alone_gives_one_reply_only():
    for begun in sampling.BEGUN:
        said = sampling.speak(sampling.PROMPTS[0], begun, 2.0, 1).said
        assert len(set(said)) == 1
        assert len(said) == sampling.SAMPLES


def test_a_sample_that_was_cut_off_ends_in_dots():
    hot = sampling.speak(sampling.PROMPTS[0], sampling.NOTHING, 3.0, sampling.TOKENS).said
    assert any(text.endswith(" …") for text in hot)
    for text in hot:
        assert len(text.removesuffix(" …").split()) == sampling.LONGEST or not text.endswith(" …")


def test_the_caption_says_the_numbers():
    at = {"temperature": 1.4, "top_k": 9, "begun": "hello !", "prompt": sampling.PROMPTS[1]}
    said = sampling.draw(**at).get_label()
    model = plain(at["prompt"], at["begun"])
    chances = heated(model, 1.4, 9)
    order = sorted(range(len(model)), key=lambda token: -model[token])[:3]
    told = re.findall(r"“(\S+)” (\d\.\d{3}) \(model (\d\.\d{3})\)", said)
    assert [name for name, *_ in told] == TOKENIZER.convert_ids_to_tokens(order)
    for (_, drawn, plainly), token in zip(told, order, strict=True):
        assert float(drawn) == pytest.approx(chances[token], abs=6e-4)
        assert float(plainly) == pytest.approx(model[token], abs=6e-4)
    entropy = -sum(p * math.log(p) for p in chances if p)
    assert f"9 of {len(TOKENIZER)} tokens can come; entropy {entropy:.2f} nats" in said
    assert said.startswith(f"τ = 1.4, top-k 9, after “{at['prompt']} hello !”: ")


def test_at_rest_a_low_temperature_has_sharpened_the_model():
    rest = {name: control.value for name, control in sampling.controls().items()}
    assert rest["temperature"] < 1
    spoken = sampling.speak(rest["prompt"], rest["begun"], rest["temperature"], rest["top_k"])
    best = spoken.plain.argmax()
    assert spoken.chances[best] > 1.2 * spoken.plain[best]
    title = sampling.draw(**rest).axes[0].get_title(loc="left")
    assert f"{spoken.plain[best]:.2f} → {spoken.chances[best]:.2f}" in title


def test_drawing_leaves_the_model_as_it_is():
    before = [p.clone() for p in MODEL.parameters()]
    sampling.draw(temperature=1.3, top_k=7, begun="please", prompt=sampling.PROMPTS[0])
    assert all(torch.equal(p, old) for p, old in zip(MODEL.parameters(), before, strict=True))
    assert not MODEL.training
    assert lm.shipped("replies_sft")[0] is not MODEL
