"""Tools that a model may call: what they are, how calls are written and read, and where they run. It knows no tokens,
no environment and no reward."""
