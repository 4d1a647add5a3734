"""The one cluster generator: builders of objects, random small clusters full of traps, realistic large ones, a history."""
