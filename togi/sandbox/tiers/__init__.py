"""Jails in tiers, from bubblewrap to a plain process; ``choose_tier.py`` picks the strongest that holds here."""
