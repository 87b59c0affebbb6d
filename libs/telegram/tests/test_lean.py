"""aiogram without the models that nobody uses: what is used is built, and all of them could be."""

import json
import subprocess
import sys

# In an interpreter of its own: here aiogram was imported long ago.
LOOK = """
import json, resource
import factory_telegram.lean
import aiogram, aiogram.methods, aiogram.types
from aiogram.methods.base import Response

models = [m for module in (aiogram.types, aiogram.methods) for name in module.__all__
          if isinstance(m := getattr(module, name), type) and hasattr(m, "model_rebuild")]
before = sum(m.__pydantic_complete__ for m in models)
update = aiogram.types.Update.model_validate({"update_id": 1, "message": {
    "message_id": 2, "date": 0, "chat": {"id": 3, "type": "private"}, "text": "a wish",
    "reply_to_message": {"message_id": 1, "date": 0, "chat": {"id": 3, "type": "private"}}}})
sent = aiogram.methods.SendMessage(chat_id=3, text="done", reply_parameters={"message_id": 2})
answer = Response[aiogram.types.Message].model_validate({"ok": True, "result": update.message.model_dump()})
used = sum(m.__pydantic_complete__ for m in models)
for m in models:
    m.model_rebuild(raise_errors=True)
print(json.dumps({
    "models": len(models), "before": before, "used": used, "all": sum(m.__pydantic_complete__ for m in models),
    "reply": update.message.reply_to_message.message_id, "sent": type(sent.reply_parameters).__name__,
    "answer": answer.result.text,
}))
"""


def test_models_are_built_when_they_are_used() -> None:
    """Hardly any on import, a few for an update and an answer; asked for, every one of them."""
    out = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=100)
    said = json.loads(out.stdout)
    assert said["models"] > 500 and said["before"] < said["models"] / 4, "few have nothing to wait for"
    assert said["used"] < said["models"] / 4
    assert said["all"] == said["models"]
    assert (said["reply"], said["sent"], said["answer"]) == (1, "ReplyParameters", "a wish")


def test_whoever_came_too_late_changes_nothing() -> None:
    """With aiogram imported before, its models are as aiogram made them."""
    look = "import aiogram.types as t; import factory_telegram.lean; print(t.Update.__pydantic_complete__)"
    out = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=100)
    assert out.stdout.strip() == "True"
