"""Everything about the Envoy beside us: its configuration, its binary, its process."""
