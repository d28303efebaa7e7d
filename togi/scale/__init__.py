"""What several processes are worth, reckoned before they run: ``simulation.py`` goes from event to event,
``measured_rates.py`` reads from a run how fast it was, ``forecast.py`` puts the two together. ``started.py`` says which
processes a run has started, ``parts.py`` what all of them hold, ``scale_command.py`` shows everything."""
