"""F0, the frozen vocabulary: plain frozen dataclasses, standard library only."""
