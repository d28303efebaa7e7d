"""Answers OpenAI's protocol with a model of this machine. ``answer_queue.py`` has the engine answer what is asked,
``growing_text.py`` cuts text into pieces, ``endpoint.py`` is what HTTP reaches, ``address.py`` takes a port, and
``serve_command.py`` opens and closes it all."""
