"""Import this before aiogram: most of its 600 models are then built when they are first used, and not on import.

They say so themselves (`defer_build`), but a loop at the end of `aiogram.types` builds every one of them, for 100 MB and
2 s of processor time; a bot uses a dozen. The loop gives them the names that stand in their annotations, which are kept
here for when a model is built. Where aiogram was imported before, nothing changes.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_names: dict[str, Any] = {}
_build = BaseModel.model_rebuild.__func__  # type: ignore[attr-defined]


def _remember(cls: type[BaseModel], *, _types_namespace: dict[str, Any] | None = None, **_: Any) -> None:
    _names.update(_types_namespace or {})


def _build_now(cls: type[BaseModel], *, _parent_namespace_depth: int = 0, **options: Any) -> bool | None:
    return _build(cls, **({"_types_namespace": _names} | options))


def _import() -> None:
    BaseModel.model_rebuild = classmethod(_remember)  # type: ignore[assignment,method-assign]
    try:
        from aiogram.methods.base import Request, Response, TelegramMethod
        from aiogram.types.base import TelegramObject
    finally:
        BaseModel.model_rebuild = classmethod(_build)  # type: ignore[assignment,method-assign]
    if _names:
        for base in (TelegramObject, TelegramMethod, Request, Response):
            base.model_rebuild = classmethod(_build_now)  # type: ignore[assignment,method-assign]


_import()
