"""A model for each user, as most people write it first: Flask, SQLAlchemy, an LRU cache of joblib files.

Run by gunicorn, in an environment of its own; DATABASE_URL and MODELS configure it.
"""

# Not checked: what it imports is in its own environment only.
# mypy: ignore-errors

import os
from threading import Lock
from typing import Any

import joblib
import pandas as pd
from cachetools import LRUCache, cached
from flask import Flask, abort, jsonify, request
from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ["DATABASE_URL"])
app = Flask(__name__)


class Base(DeclarativeBase):
    """Of the tables."""


class UserModel(Base):
    """Which model a user has."""

    __tablename__ = "user_models"
    user_id: Mapped[str] = mapped_column(String, primary_key=True)
    model_id: Mapped[str] = mapped_column(String)


@cached(LRUCache(maxsize=1000), lock=Lock())
def load(model_id: str) -> Any:
    """From the folder of models, or from memory."""
    return joblib.load(os.path.join(os.environ["MODELS"], model_id))  # noqa: PTH118 - as people write it


@app.post("/predict/<user_id>")
def predict(user_id: str) -> Any:
    """The predictions of the user's own model for a list of records."""
    with Session(engine) as session:
        model_id = session.scalar(select(UserModel.model_id).where(UserModel.user_id == user_id))
    if model_id is None:
        abort(404)
    return jsonify(load(model_id).predict(pd.DataFrame(request.get_json())).tolist())
