"""HTTP: FastAPI on one side, the engine's Moderator on the other."""
