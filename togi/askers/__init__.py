"""Models that are asked in words, whatever for: one in this process, one at a server, or what was recorded of one.

``asker.py`` has the nouns and the protocol; ``local_model.py`` and ``server_model.py`` answer, the latter through
``openai_client.py`` and with every reply kept by ``reply_cache.py``; ``transcript.py`` writes down what was asked and
answered, and answers from it; ``open_asker.py`` opens whom settings name (``who_is_asked.py``).
"""
