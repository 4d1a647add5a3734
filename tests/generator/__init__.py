"""The one cluster generator: builders of objects, small clusters full of traps, realistic large ones, a history."""
