"""The programs that drive the engine; they know the engine, never each other."""
