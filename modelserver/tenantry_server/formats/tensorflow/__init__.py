"""Keras models, and SavedModels as zip archives of their folder."""

from tenantry.lazy_names import lazily
from tenantry_server.formats.descriptor import Format

FORMAT = Format(
    name="tensorflow",
    suffixes=(".keras", ".zip"),
    holds="a Keras model, or the zipped folder of a SavedModel",
    kind="a TensorFlow or Keras model",
    extra="tensorflow",
    rank=7,
    offers=frozenset({"dump"}),
    heavy=True,
    begins=rb"PK",
    mistaken=(
        (
            rb"\x89HDF",
            "an HDF5 file, as Keras writes weights alone, and older Keras a whole model; write the whole "  # noqa: ISC004
            'model with model.save("m.keras")',
        ),
    ),
    members=(
        (r"(.*/)?saved_model\.pb", "a SavedModel of TensorFlow; declare format: tensorflow"),
        (r"model\.weights\.h5", "a Keras model; declare format: tensorflow"),
    ),
    libraries={"tensorflow": "tensorflow"},
    brings=frozenset({"keras", "ml_dtypes"}),
)

# Models that were pickled when the reader was this module name its class here.
__getattr__ = lazily(__name__, {"TensorFlowModel": f"{__name__}.reader"})
