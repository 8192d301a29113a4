"""Pictures and plots; no numerics of the net."""
