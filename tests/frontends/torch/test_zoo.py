"""Small versions of well-known architectures, imported and run, against torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlc
import pytest
import torch
from mlc.passes.compress.recipe import Quantize, Recipe
from torch import nn
from torch.export import Dim
from torch.utils._pytree import tree_leaves

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

BATCH, LENGTH, PAST = Dim("batch"), Dim("length", max=64), Dim("past", max=63)
Inputs = Sequence[torch.Tensor]


@dataclass
class Sample:
    """A model, inputs, and with ``dynamic`` sizes further inputs."""

    model: nn.Module
    args: Inputs
    dynamic: Any = None
    others: Sequence[Inputs] = field(default_factory=list)


class Read(nn.Module):
    """A model from which one output is read."""

    def __init__(self, model: nn.Module, output: str):
        super().__init__()
        self.model, self.output = model, output

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return getattr(self.model(*args), self.output)


class Prefill(nn.Module):
    """A prompt in, logits and the cache out."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, *args: torch.Tensor) -> list[torch.Tensor]:
        out = self.model(input_ids=args[0], use_cache=True)
        return [out.logits, *_tensors(out.past_key_values)]


class Decode(nn.Module):
    """One token and a cache in, logits and the grown cache out."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, *args: torch.Tensor) -> list[torch.Tensor]:
        cache = transformers.DynamicCache(list(zip(args[1::2], args[2::2], strict=True)))
        position = torch.full((1, 1), args[1].shape[2], dtype=torch.int64)
        out = self.model(
            input_ids=args[0], past_key_values=cache, use_cache=True, position_ids=position
        )
        return [out.logits, *_tensors(out.past_key_values)]


def _tensors(cache: Any) -> list[torch.Tensor]:
    return [t for layer in cache.layers for t in (layer.keys, layer.values)]


def image_sample(name: str, size: int = 64, **config: Any) -> Sample:
    kind = "SemanticSegmentation" if name == "Segformer" else "ImageClassification"
    settings = getattr(transformers, f"{name}Config")(num_labels=5, **config)
    model = Read(getattr(transformers, f"{name}For{kind}")(settings), "logits")
    images = [torch.randn(batch, 3, size, size) for batch in (2, 3)]
    return Sample(model, images[:1], {"args": ({0: BATCH},)}, [images[1:]])


def resnet_of_any_size() -> Sample:
    sample = image_sample("ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2])
    sizes = {0: BATCH, 2: Dim("height", min=33), 3: Dim("width", min=33)}
    return Sample(sample.model, sample.args, {"args": (sizes,)}, [[torch.randn(1, 3, 77, 50)]])


def token_inputs(batch: int, length: int, count: int) -> Inputs:
    """Ids, a mask that hides half of the last row, and types."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[-1, length // 2 :] = 0
    ids, types = (torch.randint(0, n, (batch, length)) for n in (50, 2))
    return [ids, mask, types][:count]


def bert() -> Sample:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(intermediate_size=32, max_position_embeddings=64, **sizes)
    model = Read(transformers.BertModel(config), "last_hidden_state")
    dynamic = {"args": ({0: BATCH, 1: LENGTH},) * 3}
    return Sample(model, token_inputs(2, 9, 3), dynamic, [token_inputs(3, 12, 3)])


def t5_encoder() -> Sample:
    config = transformers.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    model = Read(transformers.T5EncoderModel(config), "last_hidden_state")
    dynamic = {"args": ({0: BATCH, 1: LENGTH},) * 2}
    return Sample(model, token_inputs(2, 9, 2), dynamic, [token_inputs(3, 12, 2)])


def whisper_encoder() -> Sample:
    module = transformers.models.whisper.modeling_whisper
    sizes = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    config = transformers.WhisperConfig(
        num_mel_bins=8, d_model=16, max_source_positions=50, **sizes
    )
    model = Read(module.WhisperEncoder(config), "last_hidden_state")
    sounds = [torch.randn(batch, 8, 100) for batch in (2, 3)]
    return Sample(model, sounds[:1], {"args": ({0: BATCH},)}, [sounds[1:]])


def gpt2() -> nn.Module:
    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64)
    return transformers.GPT2LMHeadModel(config)


def llama() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(num_hidden_layers=2, vocab_size=50, **sizes, **heads)
    return transformers.LlamaForCausalLM(config)


def prefill(model: nn.Module) -> Sample:
    prompts = [torch.randint(0, 50, shape) for shape in ((2, 9), (3, 5))]
    return Sample(Prefill(model), prompts[:1], {"args": ({0: BATCH, 1: LENGTH},)}, [prompts[1:]])


def decode(model: nn.Module, heads: int, width: int) -> Sample:
    def inputs(length: int) -> Inputs:
        cache = [torch.randn(1, heads, length, width) for _ in range(4)]
        return [torch.randint(0, 50, (1, 1)), *cache]

    return Sample(Decode(model), inputs(7), {"args": (None, *({2: PAST},) * 4)}, [inputs(9)])


MODELS: dict[str, Callable[[], Sample]] = {
    "resnet": resnet_of_any_size,
    "mobilenet v2": lambda: image_sample("MobileNetV2", depth_multiplier=0.35, image_size=64),
    "efficientnet": lambda: image_sample(
        "EfficientNet", width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320
    ),
    "convnext": lambda: image_sample("ConvNext", num_stages=2, hidden_sizes=[8, 16], depths=[1, 2]),
    "vit": lambda: image_sample(
        *("ViT", 32), image_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2
    ),
    "swin": lambda: image_sample(
        *("Swin", 32), image_size=32, embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=4
    ),
    "segformer": lambda: image_sample(
        *("Segformer", 32), hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, decoder_hidden_size=8
    ),
    "bert": bert,
    "t5 encoder": t5_encoder,
    "whisper encoder": whisper_encoder,
    "gpt-2 prefill": lambda: prefill(gpt2()),
    "gpt-2 decode": lambda: decode(gpt2(), 2, 8),
    "llama prefill": lambda: prefill(llama()),
    "llama decode": lambda: decode(llama(), 2, 4),
}


@pytest.mark.parametrize("name", MODELS)
def test_values(check: Callable[..., Any], name: str):
    torch.manual_seed(8)
    sample = MODELS[name]()
    given = {"rtol": 1e-3, "atol": 1e-4}
    check(sample.model, *sample.args, **given)
    check(sample.model, *sample.args, dynamic=sample.dynamic, others=sample.others, **given)


INT8 = Recipe(quantize=Quantize(8, "dynamic"))
INT4 = Recipe(quantize=Quantize(4, group=16))
# How a model is compiled, and how far it may be from the norm of what torch, or for recipes the
# reference, computes.
KINDS: dict[str, tuple[dict[str, Any], float]] = {
    "f32": ({}, 1e-3),
    "f16": ({"precision": "f16"}, 2e-2),
    "bf16": ({"precision": "bf16"}, 1e-1),
    "int8": ({"recipe": INT8}, 2e-2),
    "int4": ({"recipe": INT4}, 2e-2),
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_values_on_the_gpu_of_this_machine(name: str, kind: str):
    compared(name, kind, "cuda")


def compared(name: str, kind: str, target: str) -> None:
    """Holds a model on a target against torch, or against the reference if it is compressed."""
    torch.manual_seed(8)
    sample, (how, tolerance) = MODELS[name](), KINDS[kind]
    module = sample.model.eval()
    given = {"inputs": tuple(sample.args), "dynamic_shapes": sample.dynamic}
    model = mlc.compile(module, target=target, **given, **how)
    judge = mlc.compile(module, target="reference", **given, **how) if "recipe" in how else module
    for inputs in (sample.args, *sample.others):
        with torch.no_grad():
            pairs = zip(*(tree_leaves(m(*inputs)) for m in (model, judge)), strict=True)
        for got, wanted in pairs:
            assert torch.dist(got, wanted) <= tolerance * wanted.norm()
