"""Jails in tiers, from bubblewrap to a plain process; ``choose.py`` picks the strongest that holds on this machine."""
