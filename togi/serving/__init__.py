"""Answers OpenAI's protocol with a model of this machine. ``read_request.py`` reads what is asked, ``answer_queue.py``
has the engine answer it, ``growing_text.py`` cuts text into pieces, ``replies.py`` lays them out, ``endpoint.py`` is
what HTTP reaches, ``address.py`` takes a port, and ``serve_command.py`` opens and closes it all."""
