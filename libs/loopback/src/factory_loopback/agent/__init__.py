"""The scripted agent: it speaks ACP over stdio like a coding agent and follows a script instead of a model."""
