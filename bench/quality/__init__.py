"""Does it compose? Prompts, judges, methods, runner and report of the quality benchmark."""
