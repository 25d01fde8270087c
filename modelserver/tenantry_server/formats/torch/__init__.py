"""PyTorch programs: TorchScript modules and exported programs."""

from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="torch",
    suffixes=(".pt", ".pt2"),
    holds="a TorchScript module, or what `torch.export.save` writes",
    kind="a PyTorch program",
    extra="torch",
    rank=8,
    offers=frozenset({"dump"}),
    heavy=True,
    reads_cards=True,
    begins=rb"PK",
    mistaken=(
        (
            rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19",
            "what an old torch.save wrote: weights, or a module without its code; write the model with "  # noqa: ISC004
            "torch.export.save or torch.jit.script(model).save",
        ),
    ),
    members=(
        (r"[^/]+/constants\.pkl", "a TorchScript module; declare format: torch"),
        (r"(.*/)?models/[^/]+\.json", "an exported program of PyTorch; declare format: torch"),
        (
            r"[^/]+/data\.pkl",
            "what torch.save writes: weights, or a module without its code; write the model with "  # noqa: ISC004
            "torch.export.save or torch.jit.script(model).save",
        ),
    ),
    libraries={"torch": "torch"},
)
