"""What ./demo does, in parts: a terminal's output, the choice of photos, two paths, questions."""
