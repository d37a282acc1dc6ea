"""A tiny model's numbers against fresh forward passes and enumeration; its files and doors against broken folders."""

import itertools
import json
import math
import shutil
from collections import Counter

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from rlcore import lm, logprobs
from rlcore.lm import files

WORDS = ("please", "wait", "no", "yes", "bike")
WAYS = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.7, "top_k": 4},
    {"temperature": 1.0, "top_p": 0.7},
    {"temperature": 0.8, "top_k": 6, "top_p": 0.9},
]
EQUAL, RAGGED = ["please wait", "wait no"] * 8, ["please wait no yes", "wait"] * 8


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return lm.tokenizer(WORDS)


@pytest.fixture(scope="module")
def model(words):
    return lm.build(words, hidden=16, layers=2, heads=2, context=24, seed=0)


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A folder with another architecture: GPT-2, a tokenizer of bytes, no padding token, weights in float32."""
    folder = tmp_path_factory.mktemp("gpt2")
    core = ByteLevelBPETokenizer()
    core.train_from_iterator(["please wait no yes"] * 4, vocab_size=270, special_tokens=["<|endoftext|>"])
    core.save(str(folder / "core.json"))
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    PreTrainedTokenizerFast(tokenizer_file=str(folder / "core.json"), **special).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"vocab_size": 270, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
        GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).save_pretrained(folder)
    return folder


# Words and tokens -----------------------------------------------------------------------------------------------------


def test_text_survives_the_way_to_tokens_and_back(words):
    pairs = [("please wait", "no bike yes"), ("no", ""), ("bike bike bike", "wait")]
    said = lm.encode(words, *zip(*pairs, strict=True))
    assert lm.read(words, said) == pairs
    assert said.mask.sum(1).tolist() == [4, 1, 2]  # EOS counts
    assert said.prompt_mask.tolist() == [[False, True, True], [False, False, True], [True, True, True]]
    cut = lm.encode(words, *zip(*pairs, strict=True), ended=False)
    assert lm.read(words, cut) == pairs
    assert cut.mask.sum(1).tolist() == [3, 0, 1]
    assert not cut.ended.any()


def test_an_eos_within_a_reply_that_was_cut_off_is_no_end(words):
    said = lm.encode(words, ["no"], ["wait"])
    assert lm.read(words, lm.Replies(said.prompts, said.prompt_mask, said.tokens, said.mask, ~said.ended)) != [
        ("no", "wait")
    ]


def test_rows_are_taken_from_every_field(words, model):
    drawn = lm.sample(model, lm.encode_prompts(words, RAGGED), longest=5, temperature=1.0, generator=draws())
    some = drawn.rows(torch.tensor([3, 1]))
    assert isinstance(some, lm.Rollout)
    assert len(some) == 2
    for name in ("prompts", "prompt_mask", "tokens", "mask", "ended", "logps"):
        assert torch.equal(getattr(some, name), getattr(drawn, name)[[3, 1]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda w: lm.tokenizer(["a", "b c"]), r"words holds 'b c', expected words without blanks, each one once"),
        (lambda w: lm.tokenizer(["a", ""]), "words holds ''"),
        (lambda w: lm.tokenizer(["a", "a"]), "words holds 'a'"),
        (lambda w: lm.tokenizer(["a", "<eos>"]), "words holds '<eos>'"),
        (lambda w: lm.encode_prompts(w, ["no", ""]), "prompts holds '' at 1, expected at least one token"),
        (lambda w: lm.encode_prompts(w, []), r"prompts is \[\], expected a list of at least one text"),
        (lambda w: lm.encode_prompts(w, "no"), "prompts is 'no', expected a list"),
        (lambda w: lm.encode_prompts(w, ["no cat"]), "prompts holds 'cat', which is outside the vocabulary"),
        (lambda w: lm.encode(w, ["no"], ["yes cat no"]), "replies holds 'cat', which is outside the vocabulary"),
        (lambda w: lm.encode(w, ["no"], ["yes", "no"]), "replies has 2 texts, expected 1"),
        (lambda w: lm.build(w, hidden=10, layers=1, heads=2, context=8, seed=0), "hidden is 10, expected a multiple"),
        (lambda w: lm.build(w, hidden=16, layers=0, heads=2, context=8, seed=0), "layers is 0"),
    ],
)
def test_what_does_not_fit_is_refused(words, call, said):
    with pytest.raises(ValueError, match=said):
        call(words)


# Numbers of a text ----------------------------------------------------------------------------------------------------


def test_logits_at_a_token_are_those_that_the_network_makes_before_it(words, model):
    said = lm.encode(words, ["please wait"], ["no bike"])
    text = torch.cat([said.prompts, said.tokens], 1)  # 2 + 3
    with torch.no_grad():
        wanted = torch.stack([model(input_ids=text[:, : 2 + t]).logits[0, -1] for t in range(3)])
        torch.testing.assert_close(lm.logits(model, said)[0], wanted, atol=1e-5, rtol=0)
        own = wanted.log_softmax(-1)[range(3), said.tokens[0]]
        torch.testing.assert_close(lm.logps(model, said)[0], own, atol=1e-5, rtol=0)


def test_padding_at_the_left_changes_nothing(words, model):
    alone, long = lm.encode(words, ["wait"], ["no bike"]), "please please yes no yes wait"
    beside = lm.encode(words, ["wait", long], ["no bike", "no bike"])
    judge = lm.scalar(model, seed=1)
    assert not beside.prompt_mask.all()
    with torch.no_grad():
        for of in (lambda x: lm.logits(model, x), lambda x: lm.hidden(model, x), lambda x: lm.values(judge, x)):
            torch.testing.assert_close(of(beside)[:1], of(alone), atol=1e-5, rtol=0)
        assert not torch.allclose(lm.logits(model, beside)[1], lm.logits(model, beside)[0], atol=1e-2)


def test_later_tokens_change_no_earlier_logits(words, model):
    one, other = (lm.encode(words, ["wait"], [f"no yes {word} no"]) for word in ("bike", "please"))
    with torch.no_grad():
        moved = (lm.logits(model, one) - lm.logits(model, other)).abs().amax(-1)[0]
    assert (moved[:3] == 0).all()
    assert (moved[3:] > 1e-3).all()


def test_padding_behind_a_reply_reaches_no_real_token_not_even_in_gradients(words, model):
    replies = lm.encode(words, ["wait", "wait"], ["no", "yes no please wait"])
    with torch.no_grad():
        alone = lm.logps(model, lm.encode(words, ["wait"], ["no"]))
    torch.testing.assert_close(lm.logps(model, replies)[:1, :2].detach(), alone, atol=1e-5, rtol=0)


def test_hidden_states_times_the_output_matrix_are_the_logits(words, model):
    said = lm.encode(words, RAGGED, ["no bike"] * 16)
    with torch.no_grad():
        states, matrix = lm.hidden(model, said), model.get_output_embeddings().weight
        torch.testing.assert_close(states @ matrix.T, lm.logits(model, said), atol=1e-5, rtol=0)
        fused = logprobs.linear_token_logps(states, matrix, said.tokens)
        torch.testing.assert_close(fused, lm.logps(model, said), atol=1e-5, rtol=0)


def test_values_stand_before_each_token_and_after_the_last_and_the_score_is_the_last_real_one(words, model):
    judge, said = lm.scalar(model, seed=3), lm.encode(words, ["please wait", "no"], ["no bike yes", "no"])
    with torch.no_grad():
        values = lm.values(judge, said)
        assert values.shape == (2, 5)
        assert torch.equal(lm.scores(judge, said), torch.stack([values[0, 4], values[1, 2]]))
        text = torch.cat([said.prompts, said.tokens], 1)[:1]
        for t in range(5):
            states = judge.base_model(input_ids=text[:, : 2 + t]).last_hidden_state[0, -1]
            torch.testing.assert_close(values[0, t], judge.score(states)[0], atol=1e-5, rtol=0)


def test_a_judge_begins_with_the_models_trunk_and_shares_no_parameter_with_it(words, model):
    judge = lm.scalar(model, seed=3)
    for (name, ours), theirs in zip(model.base_model.named_parameters(), judge.base_model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert ours.data_ptr() != theirs.data_ptr(), name
    assert not torch.equal(judge.score.weight, lm.scalar(model, seed=4).score.weight)
    assert torch.equal(judge.score.weight, lm.scalar(model, seed=3).score.weight)


def test_a_seed_decides_the_parameters_and_leaves_the_global_generator_alone(words):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (
        lm.build(words, hidden=8, layers=1, heads=2, context=8, seed=seed).get_input_embeddings().weight
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.rand(3), wanted)


# Sampling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompts", [EQUAL, RAGGED], ids=["unpadded", "padded"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_logps_of_a_rollout_are_those_of_a_fresh_pass(words, model, prompts, way):
    drawn = lm.sample(model, lm.encode_prompts(words, prompts), longest=8, generator=draws(1), **way)
    with torch.no_grad():
        logits = logprobs.narrowed(lm.logits(model, drawn), **way)
        wanted = logprobs.token_logps(logits, drawn.tokens)
    assert (drawn.logps[~drawn.mask] == 0).all()
    torch.testing.assert_close(drawn.logps[drawn.mask], wanted[drawn.mask], atol=1e-5, rtol=0)
    if way == {"temperature": 1.0}:
        assert len(drawn.mask.sum(1).unique()) > 2  # short and long ones
    else:
        assert (lm.logps(model, drawn)[drawn.mask] - drawn.logps[drawn.mask]).abs().max() > 0.1


@pytest.mark.parametrize("prompts", [EQUAL, RAGGED], ids=["unpadded", "padded"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_same_tokens_come_when_every_step_reads_the_whole_text_anew(words, model, prompts, way):
    asked = lm.encode_prompts(words, prompts)
    cached = lm.sample(model, asked, longest=8, generator=draws(2), **way)
    tokens, mask, generator = asked.tokens, asked.mask, draws(2)
    for t in range(cached.tokens.shape[1]):
        with torch.no_grad():
            places = (mask.cumsum(1) - 1).clamp(min=0)
            out = model(input_ids=tokens, attention_mask=mask, position_ids=places, use_cache=False)
        chances = logprobs.narrowed(out.logits[:, -1], **way).softmax(-1)
        token = torch.multinomial(chances, 1, generator=generator)[:, 0]
        token = torch.where(cached.mask[:, t], token, words.pad_token_id)
        assert torch.equal(token, cached.tokens[:, t])
        tokens = torch.cat([tokens, token[:, None]], 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)


def test_sampled_replies_come_as_often_as_enumeration_says():
    """Two words and three marks, two tokens at most: 1 + 4 + 4 · 5 replies, by chi-square on 20,000 draws."""
    words = lm.tokenizer(["a", "b"])
    model = lm.build(words, hidden=8, layers=1, heads=2, context=4, seed=0)
    end = words.eos_token_id
    every = [(end,), *((t, u) for t, u in itertools.product(range(5), repeat=2) if t != end)]
    tokens = torch.tensor([[*reply, 0][:2] for reply in every])
    mask = torch.tensor([[True, len(reply) > 1] for reply in every])
    asked = lm.encode_prompts(words, ["b a"])
    listed = lm.Replies(*(x.expand(len(every), -1) for x in asked), tokens, mask, torch.ones(len(every)).bool())
    with torch.no_grad():
        chances = logprobs.sequence_logps(lm.logps(model, listed), mask).exp().double()
    assert chances.sum().item() == pytest.approx(1, abs=1e-6)
    many = lm.Prompts(*(x.expand(20_000, -1) for x in asked))
    drawn = lm.sample(model, many, longest=2, temperature=1.0, generator=draws())
    pairs = zip(drawn.tokens.tolist(), drawn.mask.sum(1).tolist(), strict=True)
    counted = Counter(tuple(row[:length]) for row, length in pairs)
    assert set(counted) <= set(every)
    expected = 20_000 * chances
    found = torch.tensor([counted[reply] for reply in every], dtype=torch.float64)
    chi_square = ((found - expected) ** 2 / expected).sum().item()
    freedom = len(every) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)
    uniform = ((found - 20_000 / len(every)) ** 2 / (20_000 / len(every))).sum().item()
    assert uniform > 10 * freedom  # the bound tells distributions apart


def test_a_reply_ends_with_its_first_eos_or_is_cut_off(words, model):
    drawn = lm.sample(model, lm.encode_prompts(words, EQUAL * 8), longest=6, temperature=1.5, generator=draws())
    assert drawn.ended.any()
    assert not drawn.ended.all()
    for tokens, mask, ended in zip(drawn.tokens.tolist(), drawn.mask.tolist(), drawn.ended.tolist(), strict=True):
        length = sum(mask)
        assert mask == [True] * length + [False] * (len(mask) - length)
        assert (words.eos_token_id in tokens[:length]) == ended
        assert tokens[:length].index(words.eos_token_id) == length - 1 if ended else length == 6
        assert set(tokens[length:]) <= {words.pad_token_id}


def test_when_all_have_ended_no_column_is_added(words, model):
    ending = lm.build(words, hidden=16, layers=1, heads=2, context=24, seed=0)

    class End(torch.nn.Module):
        def forward(self, states):
            logits = torch.zeros(*states.shape[:-1], len(words))
            logits[..., words.eos_token_id] = 50.0
            return logits

    ending.lm_head = End()
    drawn = lm.sample(ending, lm.encode_prompts(words, EQUAL), longest=9, temperature=1.0, generator=draws())
    assert drawn.tokens.tolist() == [[words.eos_token_id]] * 16
    assert drawn.ended.all()


def test_the_same_seed_draws_the_same_and_another_one_does_not(words, model):
    asked = lm.encode_prompts(words, EQUAL)
    one, same, other = (
        lm.sample(model, asked, longest=6, temperature=1.0, generator=draws(seed)).tokens for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert one.shape != other.shape or not torch.equal(one, other)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"longest": 0}, "longest is 0"),
        ({"longest": 23}, "prompt and reply have 25 tokens, expected at most 24, the model's context"),
        ({"temperature": 0.0}, "temperature is 0, expected"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0, expected"),
        ({"top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_a_sampler_that_cannot_work_says_why(words, model, change, said):
    asked = lm.encode_prompts(words, ["please wait"])
    with pytest.raises(ValueError, match=said):
        lm.sample(model, asked, generator=draws(), **{"longest": 4, "temperature": 1.0} | change)


def test_a_text_longer_than_the_context_is_refused(words, model):
    with pytest.raises(ValueError, match="have 26 tokens, expected at most 24"):
        lm.logits(model, lm.encode(words, ["no " * 20], ["yes " * 5]))


def test_weights_that_are_not_finite_are_seen_before_anything_is_drawn(words):
    broken = lm.build(words, hidden=16, layers=1, heads=2, context=24, seed=0)
    with torch.no_grad():
        broken.get_input_embeddings().weight[4, 0] = math.nan
    with pytest.raises(ValueError, match="logits"):
        lm.sample(broken, lm.encode_prompts(words, ["wait"]), longest=4, temperature=1.0, generator=draws())


# Folders --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["policy", "judge"])
def test_a_saved_model_comes_back_rounded_to_half_precision(words, model, kind, tmp_path):
    saved = model if kind == "policy" else lm.scalar(model, seed=1)
    before = [p.clone() for p in saved.parameters()]
    lm.save(saved, words, tmp_path, made={"seed": 0})
    back, tokenizer = lm.load(tmp_path)
    assert type(back) is type(saved)
    assert not back.training
    for old, now, kept in zip(saved.parameters(), back.parameters(), before, strict=True):
        assert torch.equal(old, kept)  # saving changed nothing
        assert torch.equal(now, old.half().float())
    assert tokenizer.get_vocab() == words.get_vocab()
    assert tokenizer.padding_side == "left"
    said = lm.encode(tokenizer, RAGGED, ["no bike"] * 16)
    with torch.no_grad():
        for of in (lm.logps, lm.hidden) if kind == "policy" else (lm.values, lm.scores):
            torch.testing.assert_close(of(back, said), of(saved, said), atol=0.02, rtol=0)
    assert json.loads((tmp_path / "made.json").read_text()) == {"seed": 0}


def test_a_missing_shipped_model_names_the_command_that_makes_it():
    with pytest.raises(ValueError, match=r"python -m rlcore.loops.checkpoints nowhere") as told:
        lm.shipped("nowhere")
    assert str(lm.SHIPPED / "nowhere") in str(told.value)


def spoil_weights(folder):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


def spoil_config(folder):
    (folder / "config.json").write_text("{")


def lose(name):
    return lambda folder: (folder / name).unlink()


def lose_parameters(folder):
    from safetensors.torch import load_file, save_file

    kept = load_file(folder / "model.safetensors")
    kept.pop("model.norm.weight")
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_weights, "whole model"),
        (spoil_config, "whole model"),
        (lose("config.json"), "whole model"),
        (lose("model.safetensors"), "whole model"),
        (lose("tokenizer.json"), "whole model"),
        (lose_parameters, "parameters missing: model.norm.weight"),
    ],
    ids=["weights cut", "config cut", "no config", "no weights", "no tokenizer", "a parameter missing"],
)
def test_a_damaged_folder_is_refused_and_how_to_remake_it_told(words, model, spoil, said, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    lm.save(model, words, tmp_path / "mine")
    assert lm.shipped("mine")
    spoil(tmp_path / "mine")
    with pytest.raises(ValueError, match=said) as told:
        lm.shipped("mine")
    assert str(tmp_path / "mine") in str(told.value)
    assert "make it anew with: python -m rlcore.loops.checkpoints mine" in str(told.value)


def test_every_shipped_model_loads_and_tells_how_it_was_made():
    names = sorted(path.name for path in lm.SHIPPED.glob("*/"))
    assert "replies_sft" in names
    for name in names:
        loaded, _ = lm.shipped(name)
        assert all(torch.isfinite(p).all() for p in loaded.parameters()), name
        assert files.made(name), name


# The door to other models ---------------------------------------------------------------------------------------------


def test_a_hub_models_name_is_refused_unless_the_hub_is_asked_for():
    with pytest.raises(ValueError, match=r"where is 'some/model', expected a folder; .* needs hub=True"):
        lm.load("some/model")


def test_with_hub_the_name_goes_to_transformers_and_without_never(words, model, tmp_path, monkeypatch):
    """No network here: what would be asked for is written down."""
    asked = []

    def refuse(where, **settings):
        asked.append((where, settings["local_files_only"]))
        raise OSError("no network")

    monkeypatch.setattr(files.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(ValueError, match=r"where is 'some/model', expected a whole model .*no network"):
        lm.load("some/model", hub=True)
    with pytest.raises(ValueError, match="no network"):
        lm.load(tmp_path)
    assert asked == [("some/model", False), (tmp_path, True)]


@pytest.mark.parametrize("hub", [False, True])
def test_the_same_door_opens_another_architecture(another, hub):
    model, tokenizer = lm.load(another, hub=hub)
    assert type(model) is GPT2LMHeadModel
    assert tokenizer.pad_token == tokenizer.eos_token
    prompts = ["please wait no", "yes"] * 4
    drawn = lm.sample(
        model, lm.encode_prompts(tokenizer, prompts), longest=8, temperature=1.3, top_k=50, generator=draws()
    )
    assert not drawn.prompt_mask.all()  # the padding token is EOS: only masks tell them apart
    with torch.no_grad():
        logits = logprobs.narrowed(lm.logits(model, drawn), 1.3, 50)
        wanted = logprobs.token_logps(logits, drawn.tokens)
        torch.testing.assert_close(drawn.logps[drawn.mask], wanted[drawn.mask], atol=1e-5, rtol=0)
        alone = lm.logits(model, lm.encode(tokenizer, ["yes"], ["wait no"]))
        beside = lm.logits(model, lm.encode(tokenizer, ["yes", "please wait no"], ["wait no"] * 2))
        torch.testing.assert_close(beside[:1], alone, atol=1e-5, rtol=0)
    assert [prompt for prompt, _ in lm.read(tokenizer, drawn)] == prompts


def test_a_critic_grows_on_another_architecture(another):
    model, tokenizer = lm.load(another)
    judge = lm.scalar(model, seed=0)
    said = lm.encode(tokenizer, ["yes", "please wait no"], ["wait no", "no"])
    with torch.no_grad():
        values = lm.values(judge, said)
        assert values.shape == (2, said.tokens.shape[1] + 1)
        torch.testing.assert_close(
            lm.values(judge, lm.encode(tokenizer, ["yes"], ["wait no"])), values[:1], atol=1e-5, rtol=0
        )
        states = lm.hidden(model, said)
        torch.testing.assert_close(
            states @ model.get_output_embeddings().weight.T, lm.logits(model, said), atol=1e-5, rtol=0
        )
        length = int(said.mask[1].sum())
        assert torch.equal(lm.scores(judge, said)[1], values[1, length])


def test_a_copied_folder_is_as_good_as_the_first(another, tmp_path):
    """Nothing outside the folder is needed."""
    moved = shutil.copytree(another, tmp_path / "moved")
    one, other = (lm.load(folder)[0] for folder in (another, moved))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
