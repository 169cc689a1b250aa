"""The fleet manager's side: a signed repository of releases, orders to boards, and the server of their bytes (layer 5)."""
