"""Whether one answer serves two questions: pure functions of two texts, and fitted data."""
