"""How a prompt is read: tags, words, brackets, noun phrases. Knows nothing of bindings."""
