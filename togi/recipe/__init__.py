"""Recipes: TOML text to a Run. Importing this needs neither torch nor transformers; ``load_recipe`` does."""
