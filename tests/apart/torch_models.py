"""Small real PyTorch models, as their authors write them to files."""

import io
import warnings
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export

from tenantry import Model, ModelId
from tenantry_server.formats import dump_model, load_model

ROWS = torch.manual_seed(0) and torch.rand(20, 3)


class Cells(nn.Module):  # type: ignore[misc]
    """Two matrices of inputs by name: a number, and the number of a shop, whose embedding it learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.shops = nn.Embedding(5, 2)
        self.mix = nn.Linear(3, 2)

    def forward(self, km: torch.Tensor, shop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.mix(torch.cat([km, self.shops(shop)], 1))
        return scores.argmax(1), torch.softmax(scores, 1)


class Slices(nn.Module):  # type: ignore[misc]
    """Takes four columns or more, which no weight of it tells."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.mix(rows[:, :3]) + rows[:, 3:4]


class Named(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 1)

    def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mean": self.mix(rows)}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)
    ).eval()


def exported(model: nn.Module, *example: torch.Tensor, rows: int | None = None) -> ExportedProgram:
    example = example or (torch.zeros(2 if rows is None else rows, 3),)
    dynamic = tuple({0: Dim("rows")} for _ in example) if rows is None else None
    return export(model, example, dynamic_shapes=dynamic)


def written(program: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        return dump_model(program)[0]


def scripted(model: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(model)


def traced(model: nn.Module, *example: torch.Tensor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(model, example or (torch.zeros(2, 3),))


def saved(thing: Any, **how: Any) -> bytes:
    """What `torch.save` writes."""
    file = io.BytesIO()
    torch.save(thing, file, **how)
    return file.getvalue()


def loaded(data: bytes, suffix: str = ".pt", card: bytes | None = None, **how: Any) -> Model:
    return load_model(data, ModelId(f"file:///m{suffix}", **how), card)
